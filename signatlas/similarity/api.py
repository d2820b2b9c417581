"""Fine-grained sign-to-word similarity (CiCo, 3.3) with interchangeable backends."""

from __future__ import annotations

from typing import Literal, cast, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from signatlas.similarity import fused, reference, tiled

Aggregation = Literal["mean", "max", "softmax"]
Padding = Literal["masked", "released"]
Backend = Literal["auto", "reference", "tiled", "triton"]
Direction = Literal["video_to_text", "text_to_video"]


def fine_grained(
    video: Tensor,
    text: Tensor,
    video_mask: Tensor,
    text_mask: Tensor,
    *,
    tau: float = 0.07,
    aggregation: Aggregation = "mean",
    padding: Padding = "masked",
    backend: Backend = "auto",
    only: Direction | None = None,
) -> tuple[Tensor, Tensor]:
    """Return (video_to_text, text_to_video), each [A, B] in -1..1, of A videos and B texts (CiCo, Eq. 2).

    ``video`` [A, L, D] are clip tokens, ``text`` [B, T, D] word tokens, normalized here; the masks, bool [A, L] and
    [B, T], are True for tokens and False for padding. With S_ij the cosine of clip i and word j, video_to_text is the
    mean over clips of sum_j S_ij softmax_j(S_ij / tau), text_to_video the mean over words of
    sum_i S_ij softmax_i(S_ij / tau).

    ``aggregation`` replaces the mean by the maximum or the softmax-weighted sum (CiCo, supplement, Table 2).
    ``padding="masked"`` ignores padding everywhere; ``"released"`` includes it in the inner softmax, like the authors'
    code. ``backend`` changes time and memory, not the result; ``"auto"`` is ``"tiled"``. ``only`` computes one
    direction and returns None for the other. Half-precision tokens are compared in fp32; the Triton kernels multiply
    them in half precision and accumulate in fp32. Raises ValueError for shapes that do not match and for rows without
    a token.
    """
    _check(video, text, video_mask, text_mask, tau)
    for name, value, choices in (
        ("aggregation", aggregation, Aggregation),
        ("padding", padding, Padding),
        ("backend", backend, Backend),
    ):
        if value not in get_args(choices):
            raise ValueError(f"{name} {value!r}: use one of {', '.join(get_args(choices))}")
    if padding == "masked":
        # Padding may have any value: it is not read and gets no gradient.
        video, text = _without_padding(video, video_mask), _without_padding(text, text_mask)
    operand = torch.promote_types(video.dtype, text.dtype)
    settings = tiled.Settings(tau, aggregation, padding, only != "text_to_video", only != "video_to_text")
    pair: tiled.Pair
    chosen = _resolve(backend, video, text, aggregation)
    # Autocast would round the products to half precision, an error that is then divided by tau.
    with torch.autocast(video.device.type, enabled=False):
        video, text = _unit(video, text)
        if chosen == "reference":
            scores = reference.fine_grained(
                video, text, video_mask, text_mask, tau=tau, aggregation=aggregation, padding=padding
            )
            pair = (scores[0] if settings.video_to_text else None), (scores[1] if settings.text_to_video else None)
        elif chosen == "tiled":
            pair = tiled.fine_grained(video, text, video_mask, text_mask, settings)
        else:
            pair = fused.fine_grained(video, text, video_mask, text_mask, settings, operand)
    return cast(tuple[Tensor, Tensor], pair)


def _resolve(backend: Backend, video: Tensor, text: Tensor, aggregation: Aggregation) -> Backend:
    """Return the backend to use. Raises ValueError where Triton cannot be used."""
    if backend != "triton":
        # Tiled on a GPU too: a wrong score of kernels that were not tested on it would go unnoticed.
        return "tiled" if backend == "auto" else backend
    reason = fused.unavailable(video, text, aggregation)
    if reason is not None:
        raise ValueError(f"backend 'triton': {reason}; use backend='auto'")
    return backend


def _without_padding(tokens: Tensor, mask: Tensor) -> Tensor:
    return tokens if bool(mask.all()) else tokens.masked_fill(~mask[..., None], 0)


def _unit(video: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    """Return tokens of unit length, in fp32 or the wider of the two types."""
    dtype = torch.promote_types(torch.promote_types(video.dtype, text.dtype), torch.float32)
    return F.normalize(video.to(dtype), dim=-1), F.normalize(text.to(dtype), dim=-1)


def _check(video: Tensor, text: Tensor, video_mask: Tensor, text_mask: Tensor, tau: float) -> None:
    for name, tokens, mask in (("video", video, video_mask), ("text", text, text_mask)):
        if tokens.ndim != 3 or mask.shape != tokens.shape[:2]:
            raise ValueError(f"{name} {tuple(tokens.shape)} must be [rows, tokens, width], its mask [rows, tokens]")
        if mask.dtype != torch.bool:
            raise ValueError(f"the mask of {name} must be bool, True for tokens, got {mask.dtype}")
        if not bool(mask.any(1).all()):
            empty = int((~mask.any(1)).nonzero()[0, 0])
            raise ValueError(f"{name} row {empty} has no token: its mask is False everywhere")
    if video.shape[-1] != text.shape[-1]:
        raise ValueError(f"video tokens have width {video.shape[-1]}, text tokens {text.shape[-1]}")
    if not tau > 0:
        raise ValueError(f"tau must be positive, got {tau}")
