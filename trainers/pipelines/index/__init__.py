"""Pipelines that build index versions from a corpus and a model."""
