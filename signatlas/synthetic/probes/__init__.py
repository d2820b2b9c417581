"""Shortcuts a model could take on composed signing, and controls without learning."""
