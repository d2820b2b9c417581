"""Continuous signing composed of isolated recordings."""
