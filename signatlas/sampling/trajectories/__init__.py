"""Similarity trajectories of negative pairs over the checkpoints of a reference model (SCL-SLT)."""
