"""CiCo's fine-grained similarity as its definition reads: plain einsum, every intermediate kept."""

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
    """(video_to_text, text_to_video), each [A, B], of tokens of length one; see :func:`signatlas.similarity.api`."""
    S = torch.einsum("ald,btd->ablt", video_ALD, text_BTD)
    video_mask, text_mask = video_mask_AL[:, None, :], text_mask_BT[None, :, :]
    # For each clip the words it answers to, and for each word the clips.
    of_clips = _attended(S, dim=3, keys=text_mask[:, :, None, :], tau=tau, padding=padding)
    of_words = _attended(S, dim=2, keys=video_mask[:, :, :, None], tau=tau, padding=padding)
    return _aggregate(of_clips, video_mask, tau, aggregation), _aggregate(of_words, text_mask, tau, aggregation)


def _attended(S: Tensor, *, dim: int, keys: Tensor, tau: float, padding: str) -> Tensor:
    """sum_j S_ij softmax_j(S_ij / tau); padded keys take part only in the released form."""
    logits = S / tau
    if padding == "masked":
        logits = logits.masked_fill(~keys, float("-inf"))
    return (S * logits.softmax(dim)).sum(dim)


def _aggregate(scores_ABN: Tensor, valid: Tensor, tau: float, aggregation: str) -> Tensor:
    """One score a pair from the scores of its valid tokens (supplement, Table 2)."""
    if aggregation == "mean":
        return scores_ABN.masked_fill(~valid, 0).sum(-1) / valid.sum(-1)
    filled = scores_ABN.masked_fill(~valid, float("-inf"))
    if aggregation == "max":
        return filled.amax(-1)
    return ((filled / tau).softmax(-1) * scores_ABN.masked_fill(~valid, 0)).sum(-1)
