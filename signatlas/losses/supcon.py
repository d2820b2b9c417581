"""Supervised contrastive loss over a batch of labeled signs, through pytorch-metric-learning."""

from __future__ import annotations

import torch
from torch import Tensor


def supcon(embeddings: Tensor, labels: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Return the supervised contrastive loss L_out of Khosla et al. 2020, Eq. 2, averaged over all B anchors.

    ``embeddings`` is [B, E] (normalized here), ``labels`` int [B]. An anchor without a positive counts as 0 in the
    mean. Raises ValueError when no two samples share a label: the loss would be a constant zero.
    """
    from pytorch_metric_learning.losses import SupConLoss
    from pytorch_metric_learning.reducers import MeanReducer

    if len(torch.unique(labels)) == len(labels):
        raise ValueError("supcon needs two samples of one class in a batch; raise samples_per_class")
    # The library's default reducer leaves out anchors whose loss is exactly zero; this one averages over all.
    return SupConLoss(temperature=temperature, reducer=MeanReducer())(embeddings, labels)


def grouped_supcon(embeddings: Tensor, labels: Tensor, groups: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Return :func:`supcon` within each group int [B], weighted by group size: samples of two groups are not compared.

    For corpora of several sources, where pairs across sources would teach the model the source.
    """
    total = embeddings.new_zeros(())
    for group in torch.unique(groups):
        members = groups == group
        weight = members.sum() / len(groups)
        total = total + weight * supcon(embeddings[members], labels[members], temperature=temperature)
    return total
