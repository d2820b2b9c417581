"""Sampling of training batches: P-K batches of labeled signs, and selection of negative pairs (SCL-SLT)."""

from signatlas.sampling.pair_selection import (
    DeltaSource,
    DenseDelta,
    LowRankDelta,
    Schedule,
    TokenDelta,
    curriculum_alpha,
    plan_epoch,
    select_batches,
)
from signatlas.sampling.pk_batches import pk_batches

__all__ = [
    "DeltaSource",
    "DenseDelta",
    "LowRankDelta",
    "Schedule",
    "TokenDelta",
    "curriculum_alpha",
    "pk_batches",
    "plan_epoch",
    "select_batches",
]
