"""Selection of negative pairs for contrastive batches (SCL-SLT, Algorithm 1)."""

from signatlas.sampling.pair_selection.greedy import Schedule, curriculum_alpha, plan_epoch, select_batches
from signatlas.sampling.pair_selection.sources import DeltaSource, DenseDelta, LowRankDelta, TokenDelta

__all__ = [
    "DeltaSource",
    "DenseDelta",
    "LowRankDelta",
    "Schedule",
    "TokenDelta",
    "curriculum_alpha",
    "plan_epoch",
    "select_batches",
]
