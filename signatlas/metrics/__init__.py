"""Metrics of retrieval and translation, as functions of arrays and texts."""
