"""Which text belongs to which video in a batch, and which pairs are no negatives."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Identical = Literal["mask", "share", "none"]


class Targets(NamedTuple):
    """For A of ``videos`` clips and N texts: distributions over each clip's texts and over each text's clips."""

    rows: Tensor  # [A, N], each row sums to one
    columns: Tensor  # [A, N], each column sums to one over the rows of all ranks
    ignored: Tensor  # [A, N] bool: neither positive nor negative
    videos: int


def pair_targets(
    owner: Tensor,
    group: Tensor,
    videos: int,
    *,
    first: int = 0,
    count: int | None = None,
    identical: Identical = "mask",
    dtype: torch.dtype = torch.float32,
) -> Targets:
    """Targets of the clips ``first`` to ``first + count`` of a batch of ``videos`` clips with N texts.

    ``owner`` int64 [N] names the clip of each text: with K languages a clip owns K of them, and each gets 1/K of the
    clip's target (1-to-K contrastive learning). ``group`` int64 [N] numbers the texts so that identical ones share a
    number. Identical texts of other clips are ``"mask"``: no negatives; ``"share"``: they share the mass of the target
    in both directions; ``"none"``: negatives as any other. Raises ValueError for a clip without a text.
    """
    texts = torch.bincount(owner, minlength=videos)
    if len(texts) != videos or bool((texts == 0).any()):
        raise ValueError(f"{videos} clips, but texts of {int((texts > 0).sum())}: each needs one or more")
    count = videos - first if count is None else count
    clips = torch.arange(first, first + count, device=owner.device)
    own = owner[None, :] == clips[:, None]  # [A, N]
    _, group = torch.unique(group, return_inverse=True)
    if identical == "share":
        return _shared(own, owner, group, texts, clips, videos, dtype)
    rows = own.to(dtype) / texts[clips][:, None].to(dtype)
    ignored = torch.zeros_like(own)
    if identical == "mask":
        ignored = _owns_group(owner, group, videos)[clips][:, group] & ~own
    return Targets(rows, own.to(dtype), ignored, videos)


def _owns_group(owner: Tensor, group: Tensor, videos: int) -> Tensor:
    """[V, G] bool: whether a clip has a text of this group."""
    table = torch.zeros(videos, int(group.max()) + 1, dtype=torch.bool, device=owner.device)
    table[owner, group] = True
    return table


def _shared(
    own: Tensor, owner: Tensor, group: Tensor, texts: Tensor, clips: Tensor, videos: int, dtype: torch.dtype
) -> Targets:
    """The mass that a clip puts on a text is spread over all texts of its group, and that of a text over all clips."""
    groups = int(group.max()) + 1
    held = torch.zeros(videos, groups, dtype=dtype, device=owner.device)
    held.index_put_((owner, group), torch.ones(len(owner), dtype=dtype, device=owner.device), accumulate=True)
    members = torch.bincount(group, minlength=groups).to(dtype)
    rows = (held[clips] / texts[clips][:, None] / members)[:, group]
    has = (held > 0).to(dtype)
    columns = (has / has.sum(0))[clips][:, group]
    return Targets(rows, columns, torch.zeros_like(own), videos)
