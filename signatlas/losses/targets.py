"""Targets of a contrastive batch: which texts belong to which video, and which pairs are not negatives."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Identical = Literal["mask", "share", "none"]


class Targets(NamedTuple):
    """Target distributions of A of ``videos`` videos over N texts, and of the N texts over the videos."""

    rows: Tensor  # [A, N], each row sums to one
    columns: Tensor  # [A, N], each column sums to one over the rows of all ranks
    ignored: Tensor  # [A, N] bool: neither positive nor negative
    videos: int


def pair_targets(
    owner: Tensor,
    groups: Tensor,
    videos: int,
    *,
    first: int = 0,
    count: int | None = None,
    identical: Identical = "mask",
    dtype: torch.dtype = torch.float32,
) -> Targets:
    """Return the targets of videos ``first`` to ``first + count`` of a batch of ``videos`` videos with N texts.

    ``owner`` int64 [N] is the video of each text: with K languages a video owns K texts, and each gets 1/K of its
    target (1-to-K contrastive learning). ``groups`` int64 [N] are equal for identical texts. Identical texts of
    another video are left out (``"mask"``), share the target in both directions (``"share"``), or are negatives like
    any other (``"none"``). Raises ValueError for a video without a text.
    """
    texts = torch.bincount(owner, minlength=videos)
    if len(texts) != videos or bool((texts == 0).any()):
        raise ValueError(f"{videos} videos, but only {int((texts > 0).sum())} have texts: each needs one or more")
    count = videos - first if count is None else count
    local = torch.arange(first, first + count, device=owner.device)
    positive = owner[None, :] == local[:, None]  # [A, N]
    _, groups = torch.unique(groups, return_inverse=True)
    if identical == "share":
        return _shared(positive, owner, groups, texts, local, videos, dtype)
    rows = positive.to(dtype) / texts[local][:, None].to(dtype)
    ignored = torch.zeros_like(positive)
    if identical == "mask":
        ignored = _has_group(owner, groups, videos)[local][:, groups] & ~positive
    return Targets(rows, positive.to(dtype), ignored, videos)


def _has_group(owner: Tensor, groups: Tensor, videos: int) -> Tensor:
    """Return [V, G] bool: whether a video has a text of this group."""
    table = torch.zeros(videos, int(groups.max()) + 1, dtype=torch.bool, device=owner.device)
    table[owner, groups] = True
    return table


def _shared(
    positive: Tensor, owner: Tensor, groups: Tensor, texts: Tensor, local: Tensor, videos: int, dtype: torch.dtype
) -> Targets:
    """Spread a video's target on a text over all texts of its group, and a text's target over all their videos."""
    number = int(groups.max()) + 1
    counts = torch.zeros(videos, number, dtype=dtype, device=owner.device)
    counts.index_put_((owner, groups), torch.ones(len(owner), dtype=dtype, device=owner.device), accumulate=True)
    members = torch.bincount(groups, minlength=number).to(dtype)
    rows = (counts[local] / texts[local][:, None] / members)[:, groups]
    has = (counts > 0).to(dtype)
    columns = (has / has.sum(0))[local][:, groups]
    return Targets(rows, columns, torch.zeros_like(positive), videos)
