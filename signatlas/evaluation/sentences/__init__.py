"""Sentence retrieval: protocol, items, report, comparison."""
