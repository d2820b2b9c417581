"""Continuous signing composed of isolated recordings: what is signed, which recording stands for it, and how."""
