"""Selection of negative pairs for contrastive batches (SCL-SLT, Algorithm 1)."""

from signatlas.sampling.pair_selection.greedy import plan_epoch, select_batches

__all__ = ["plan_epoch", "select_batches"]
