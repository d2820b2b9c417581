"""Calibration of the confidence words of an index: evaluator, report."""
