"""Evaluation of translation: decoding, scoring, report, comparison."""
