"""Cross-entropy over a matrix of videos by texts whose rows are sharded over ranks.

Each rank computes the loss of the whole matrix; its gradients flow into its own rows only. Summed over ranks they are
the gradients of one process with the whole matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor

from signatlas.losses.ranks import SINGLE_PROCESS, Ranks, logsumexp_over_ranks, sum_over_ranks
from signatlas.losses.targets import Targets

EXCLUDED = -1e30  # finite, so that a column without a row on this rank still has a gradient: zero


def cross_entropy(
    logits_AN: Tensor, targets: Targets, negatives_AQ: Tensor | None = None, ranks: Ranks = SINGLE_PROCESS
) -> tuple[Tensor, Tensor]:
    """Return the (video-to-text, text-to-video) cross-entropies, means over all videos and over all texts.

    ``logits_AN`` are this rank's A videos by the N texts of all ranks. ``negatives_AQ`` are logits of further texts
    that belong to no video; they count in video-to-text only and are ``EXCLUDED`` where they are not negatives.
    """
    logits = logits_AN.masked_fill(targets.ignored, EXCLUDED)
    row_lse = logits.logsumexp(1)
    if negatives_AQ is not None:
        row_lse = torch.logaddexp(row_lse, negatives_AQ.logsumexp(1))
    rows = (row_lse - (targets.rows * logits_AN).sum(1)).sum() / targets.videos
    positives, column_lse = (targets.columns * logits_AN).sum(), logits.logsumexp(0)
    rows = sum_over_ranks(rows, ranks)
    columns = logsumexp_over_ranks(column_lse, ranks).mean() - sum_over_ranks(positives, ranks) / logits_AN.shape[1]
    return rows, columns
