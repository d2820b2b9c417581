"""Encoded videos and texts, and their scores: token by token (CiCo) or by one vector each (CLIP)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from signatlas.similarity.api import Aggregation, Backend, Direction, Padding, fine_grained

Kind = Literal["fine_grained", "cls", "mean"]


class Tokens(NamedTuple):
    """Tokens [B, N, E] of B videos or texts, their mask bool [B, N], and one vector a row [B, E].

    ``cls`` is None where an encoder has no such vector: only similarity ``"cls"`` reads it.
    """

    tokens: Tensor
    mask: Tensor
    cls: Tensor = None  # type: ignore[assignment]  # every encoder of this package has one

    def rows(self, index: Any) -> Tokens:
        """Return the rows of an index, slice or mask."""
        return Tokens(*(None if part is None else part[index] for part in self))

    def padded(self, length: int) -> Tokens:
        """Return the same rows with tokens and mask padded to ``length`` tokens."""
        more = length - self.tokens.shape[1]
        return Tokens(F.pad(self.tokens, (0, 0, 0, more)), F.pad(self.mask, (0, more)), self.cls)


class SimilaritySettings(Protocol):
    """Settings of a similarity: a model's ``SimilarityConfig`` or a ``ContrastiveLoss``."""

    @property
    def kind(self) -> Kind: ...
    @property
    def tau(self) -> float: ...
    @property
    def aggregation(self) -> Aggregation: ...
    @property
    def padding(self) -> Padding: ...
    @property
    def beta(self) -> float: ...


def directed_scores(
    video: Tokens,
    text: Tokens,
    settings: SimilaritySettings,
    *,
    backend: Backend = "auto",
    only: Direction | None = None,
) -> tuple[Tensor, Tensor]:
    """Return (video_to_text, text_to_video), each [A, B]; a pooled similarity gives one matrix twice.

    ``backend`` and ``only`` (None in place of the other direction) are those of :func:`fine_grained`.
    """
    if settings.kind == "fine_grained":
        return fine_grained(
            video.tokens, text.tokens, video.mask, text.mask, tau=settings.tau, aggregation=settings.aggregation,
            padding=settings.padding, backend=backend, only=only,
        )  # fmt: skip
    vectors = [side.cls if settings.kind == "cls" else mean_pooled(side.tokens, side.mask) for side in (video, text)]
    scores = pooled(*vectors)
    return scores, scores


def ranking_scores(video: Tokens, text: Tokens, settings: SimilaritySettings) -> Tensor:
    """Return the matrix [A, B] that ranks in both directions: beta video_to_text + (1 - beta) text_to_video."""
    video_to_text, text_to_video = directed_scores(video, text, settings)
    return settings.beta * video_to_text + (1 - settings.beta) * text_to_video


def pooled(video_AD: Tensor, text_BD: Tensor) -> Tensor:
    """Return the cosines [A, B] of vectors, normalized here (CiCo, supplement, Table 1: the CLIP baseline)."""
    if video_AD.shape[-1] != text_BD.shape[-1]:
        raise ValueError(f"video vectors have width {video_AD.shape[-1]}, text vectors {text_BD.shape[-1]}")
    return F.normalize(video_AD, dim=-1) @ F.normalize(text_BD, dim=-1).T


def mean_pooled(tokens_BND: Tensor, mask_BN: Tensor) -> Tensor:
    """Return the mean [B, D] of each row's valid tokens, each normalized first."""
    valid = mask_BN[..., None].to(tokens_BND.dtype)
    return (F.normalize(tokens_BND, dim=-1) * valid).sum(1) / valid.sum(1).clamp_min(1)


def concatenate(parts: Sequence[Tokens]) -> Tokens:
    """Return batches of any lengths as one, padded, on the CPU in float32."""
    length = max(part.tokens.shape[1] for part in parts)
    rows = [part.padded(length) for part in parts]
    return Tokens(
        torch.cat([part.tokens.float().cpu() for part in rows]),
        torch.cat([part.mask.cpu() for part in rows]),
        torch.cat([part.cls.float().cpu() for part in rows]),
    )
