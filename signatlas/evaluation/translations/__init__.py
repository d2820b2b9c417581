"""Translation: decoding, scoring, report, comparison."""
