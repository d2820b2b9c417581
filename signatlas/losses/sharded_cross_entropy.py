"""Cross-entropy over a matrix of videos by texts of which each rank holds a slab of rows.

Each rank computes the loss of the whole matrix; its gradients flow into its own rows only. Summed over ranks they are
those of one rank that holds everything. Without a process group a slab is the whole matrix.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from signatlas.losses.targets import Targets

EXCLUDED = -1e30  # finite, so that a column without a single row on this rank still has a gradient: zero


def cross_entropy(
    slab: Tensor, targets: Targets, negatives: Tensor | None = None, *, alone: bool = False
) -> tuple[Tensor, Tensor]:
    """(video to text, text to video) cross-entropies, means over all videos and over all texts.

    ``slab`` [A, N] holds the logits of this rank's A videos and of all N texts. ``negatives`` [A, Q] are logits of
    further texts that no video owns; they stand in the first of the two only, ``EXCLUDED`` where they are no negative.
    ``alone``: the slab is the whole matrix of a loss that this rank has by itself.
    """
    logits = slab.masked_fill(targets.ignored, EXCLUDED)
    row_lse = logits.logsumexp(1)
    if negatives is not None:
        row_lse = torch.logaddexp(row_lse, negatives.logsumexp(1))
    rows = (row_lse - (targets.rows * slab).sum(1)).sum() / targets.videos
    own, column_lse = (targets.columns * slab).sum(), logits.logsumexp(0)
    if alone:
        return rows, column_lse.mean() - own / slab.shape[1]
    return of_all_ranks(rows), _global_lse(column_lse).mean() - of_all_ranks(own) / slab.shape[1]


def _ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def of_all_ranks(mine: Tensor) -> Tensor:
    """The sum over ranks; the gradient is that of this rank's part."""
    if _ranks() == 1:
        return mine
    total = mine.detach().clone()
    dist.all_reduce(total)
    return mine + (total - mine.detach())


def _global_lse(local: Tensor) -> Tensor:
    return local if _ranks() == 1 else _GlobalLse.apply(local)


class _GlobalLse(torch.autograd.Function):
    """log-sum-exp over ranks of each column's own log-sum-exp [N]; the gradient goes to this rank's part."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        largest = local.clone()
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        total = (local - largest).exp()
        dist.all_reduce(total)
        whole = largest + total.log()
        ctx.save_for_backward(local, whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        local, whole = ctx.saved_tensors
        return gradients[0] * (local - whole).exp()
