"""Contrastive losses of signing and text: CiCo, CLIP and 1-to-K (CiCo, Eq. 3; supplement, Table 1; facts: Loss)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from signatlas.losses.sharded_cross_entropy import cross_entropy
from signatlas.losses.targets import Identical, Targets, pair_targets
from signatlas.similarity import fine_grained, pooled
from signatlas.similarity.api import Aggregation, Backend, Padding

Weighting = Literal["balance", "depart"]
Pair = tuple[Tensor, Tensor]


def contrast(
    to_text: Tensor,
    to_video: Tensor,
    targets: Targets,
    *,
    beta: float = 0.5,
    weighting: Weighting = "balance",
    negatives: Pair | None = None,
    alone: bool = False,
) -> Tensor:
    """The loss of two matrices of logits [A, N], video-to-text and text-to-video (facts: Loss).

    ``balance``: 1/2 {b row(to_text) + (1-b) column(to_text) + b column(to_video) + (1-b) row(to_video)}; ``depart``
    weighs the first pair b and the second 1-b. With one matrix given twice it is the loss of CLIP whatever ``beta``
    under ``balance``. ``negatives`` are logits [A, Q] of past texts for either matrix, see :mod:`.queue`.
    ``alone``: over this rank's pairs only, whatever others do.
    """
    first = cross_entropy(to_text, targets, negatives[0] if negatives else None, alone=alone)
    if to_video is to_text:
        return 0.5 * (first[0] + first[1])
    second = cross_entropy(to_video, targets, negatives[1] if negatives else None, alone=alone)
    if weighting == "balance":
        return 0.5 * (beta * first[0] + (1 - beta) * first[1] + beta * second[1] + (1 - beta) * second[0])
    return 0.5 * (beta * (first[0] + first[1]) + (1 - beta) * (second[0] + second[1]))


def fine_grained_contrastive(
    video: Tensor,
    text: Tensor,
    video_mask: Tensor,
    text_mask: Tensor,
    *,
    logit_scale: Tensor | float,
    tau: float = 0.07,
    beta: float = 0.5,
    text_augmented: Tensor | None = None,
    text_augmented_mask: Tensor | None = None,
    weighting: Weighting = "balance",
    aggregation: Aggregation = "mean",
    padding: Padding = "masked",
    identical: Identical = "none",
    groups: Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """CiCo's loss of B videos [B, L, D] and their texts [B, T, D], a scalar (CiCo, Eq. 3).

    ``logit_scale`` is the multiplier itself. Video-to-text takes the texts as they are, text-to-video the augmented
    ones where they are given. ``groups`` int64 [B] numbers identical texts, see ``pair_targets``.
    """
    targets = batch_targets(len(video), len(text), identical, groups, video.device, video.dtype)
    options = {"tau": tau, "aggregation": aggregation, "padding": padding, "backend": backend}
    if text_augmented is None:
        to_text, to_video = fine_grained(video, text, video_mask, text_mask, **options)  # type: ignore[arg-type]
    else:
        if text_augmented_mask is None:
            raise ValueError("text_augmented needs text_augmented_mask")
        varied = (video, text_augmented, video_mask, text_augmented_mask)
        to_text, _ = fine_grained(video, text, video_mask, text_mask, only="video_to_text", **options)  # type: ignore[arg-type]
        _, to_video = fine_grained(*varied, only="text_to_video", **options)  # type: ignore[arg-type]
    return contrast(to_text * logit_scale, to_video * logit_scale, targets, beta=beta, weighting=weighting)


def clip_contrastive(
    video: Tensor,
    text: Tensor,
    *,
    logit_scale: Tensor | float,
    identical: Identical = "none",
    groups: Tensor | None = None,
) -> Tensor:
    """CLIP's loss of B video vectors and B text vectors [B, D]: both cross-entropies, halved (Radford et al. 2021)."""
    scores = pooled(video, text) * logit_scale
    return contrast(scores, scores, batch_targets(len(video), len(text), identical, groups, video.device, video.dtype))


def one_to_k_contrastive(
    video: Tensor, texts: Tensor, *, logit_scale: Tensor | float, groups: Tensor | None = None
) -> Tensor:
    """1-to-K contrastive loss of B video vectors [B, D] and their texts in K languages [K, B, D].

    Each clip's target is 1/K on each of its texts, each of the K*B texts has its one clip; identical texts (equal
    ``groups`` [K, B]) share the mass. With K = 1 it is :func:`clip_contrastive` (facts: cross-lingual).
    """
    K, B, _ = texts.shape
    owner = torch.arange(B, device=video.device).repeat(K)
    group = torch.arange(K * B, device=video.device) if groups is None else groups.reshape(-1)
    targets = pair_targets(owner, group, B, identical="share", dtype=video.dtype)
    scores = pooled(video, texts.reshape(K * B, -1)) * logit_scale
    return contrast(scores, scores, targets)


def batch_targets(
    videos: int, texts: int, identical: Identical, groups: Tensor | None, device: torch.device, dtype: torch.dtype
) -> Targets:
    """Targets of a batch in which the n-th text belongs to the n-th video."""
    if videos != texts:
        raise ValueError(f"{videos} videos and {texts} texts: they must be pairs")
    if identical != "none" and groups is None:
        raise ValueError(f"identical='{identical}' needs groups, a number for each text")
    owner = torch.arange(texts, device=device)
    return pair_targets(owner, owner if groups is None else groups, videos, identical=identical, dtype=dtype)
