"""Benchmarks: python -m benchmarks.NAME prints one JSON line last."""
