"""Sentence retrieval: items, protocol, report, comparison."""
