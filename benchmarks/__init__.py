"""Benchmarks: the last line that python -m benchmarks.NAME prints is its result as JSON."""
