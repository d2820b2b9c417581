"""Metric-learning objectives over a whole batch, through pytorch-metric-learning."""

from __future__ import annotations

import torch
from torch import Tensor


def supcon(embeddings: Tensor, labels: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss L_out of Khosla et al. 2020 (Eq. 2), mean over anchors with a positive.

    ``embeddings`` is [B, E] (normalized here), ``labels`` int [B]. Raises ValueError when no two share a label:
    the library would return zero and training would stand still unseen.
    """
    from pytorch_metric_learning.losses import SupConLoss
    from pytorch_metric_learning.reducers import MeanReducer

    if len(torch.unique(labels)) == len(labels):
        raise ValueError("supcon needs at least two samples of one class in a batch; raise samples_per_class")
    # The library's default reducer leaves out anchors whose loss is exactly zero; a mean leaves out none.
    return SupConLoss(temperature=temperature, reducer=MeanReducer())(embeddings, labels)


def grouped_supcon(embeddings: Tensor, labels: Tensor, groups: Tensor, *, temperature: float = 0.1) -> Tensor:
    """:func:`supcon` inside each group apart, weighted by group size: clips of two groups are no pair at all.

    Used where two parts of a corpus look different: pairs across parts would teach the model the part.
    """
    total = embeddings.new_zeros(())
    for group in torch.unique(groups):
        chosen = groups == group
        share = chosen.sum() / len(groups)
        total = total + share * supcon(embeddings[chosen], labels[chosen], temperature=temperature)
    return total
