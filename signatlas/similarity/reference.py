"""Fine-grained similarity written out from its definition (CiCo, Eq. 2): plain einsum, all intermediates in memory."""

from __future__ import annotations

import torch
from torch import Tensor


def fine_grained(
    video_ALD: Tensor,
    text_BTD: Tensor,
    video_mask_AL: Tensor,
    text_mask_BT: Tensor,
    *,
    tau: float,
    aggregation: str,
    padding: str,
) -> tuple[Tensor, Tensor]:
    """Return (video_to_text, text_to_video), each [A, B], of unit tokens; see :mod:`signatlas.similarity.api`."""
    S = torch.einsum("ald,btd->ablt", video_ALD, text_BTD)
    video_mask, text_mask = video_mask_AL[:, None, :], text_mask_BT[None, :, :]
    # Each clip attends to the words, each word to the clips.
    clip_scores = _attended(S, dim=3, keys=text_mask[:, :, None, :], tau=tau, padding=padding)
    word_scores = _attended(S, dim=2, keys=video_mask[:, :, :, None], tau=tau, padding=padding)
    return _aggregate(clip_scores, video_mask, tau, aggregation), _aggregate(word_scores, text_mask, tau, aggregation)


def _attended(S: Tensor, *, dim: int, keys: Tensor, tau: float, padding: str) -> Tensor:
    """Return sum_j S_ij softmax_j(S_ij / tau); padded keys are included with padding ``released``."""
    logits = S / tau
    if padding == "masked":
        logits = logits.masked_fill(~keys, float("-inf"))
    return (S * logits.softmax(dim)).sum(dim)


def _aggregate(scores_ABN: Tensor, valid: Tensor, tau: float, aggregation: str) -> Tensor:
    """Return one score a pair from the scores of its valid tokens (CiCo, supplement, Table 2)."""
    if aggregation == "mean":
        return scores_ABN.masked_fill(~valid, 0).sum(-1) / valid.sum(-1)
    filled = scores_ABN.masked_fill(~valid, float("-inf"))
    if aggregation == "max":
        return filled.amax(-1)
    return ((filled / tau).softmax(-1) * scores_ABN.masked_fill(~valid, 0)).sum(-1)
