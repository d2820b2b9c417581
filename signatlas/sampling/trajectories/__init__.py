"""Similarity trajectories of negative pairs over the checkpoints of a reference model (SCL-SLT)."""

from signatlas.sampling.trajectories.classes import NegativeClasses, classify_negatives
from signatlas.sampling.trajectories.similarities import Trajectories, Trajectory
from signatlas.sampling.trajectories.store import TokenCache, TokenCacheInfo, TrajectoriesInfo

__all__ = [
    "NegativeClasses",
    "TokenCache",
    "TokenCacheInfo",
    "Trajectories",
    "TrajectoriesInfo",
    "Trajectory",
    "classify_negatives",
]
