"""Load on the service and on simpler servers that give the same answers: ``python -m benchmarks.serve``."""
