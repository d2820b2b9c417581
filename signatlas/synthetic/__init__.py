"""Synthetic signing: sentences composed of isolated recordings (composition, grammar, probes) and procedural signs."""
