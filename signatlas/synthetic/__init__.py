"""Synthetic signing: composed from isolated recordings, or procedural."""
