"""Fine-grained similarity block by block (CiCo, Eq. 2): closed-form gradient, recomputed blocks, no padding.

Only the similarities of one block of videos and texts are in memory at a time. With x_ij = S_ij / tau, E = exp(x),
r_i = sum_j E x / sum_j E and g_i the gradient of r_i, dS_ij = E_ij / Z_i (1 + x_ij - r_i) g_i, and the same over
columns, so that the sums of the forward pass suffice. Shapes: a videos, l clips, t words, b texts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from signatlas.similarity.blocks import Block, multiply, text_blocks, video_blocks

# Above this 1/tau each direction has its own softmax, with the maximum subtracted. One exponential for both would
# overflow in fp32 above 80; half of that also keeps quotients by its sums from underflow in the gradient.
ONE_EXPONENTIAL = 40.0
Pair = tuple[Tensor | None, Tensor | None]


@dataclass(frozen=True)
class Settings:
    """Settings of the similarity, and which of the two directions to compute."""

    tau: float
    aggregation: str
    padding: str
    video_to_text: bool = True
    text_to_video: bool = True

    @property
    def shared(self) -> bool:
        """Whether both directions use one exponential."""
        return 1 / self.tau <= ONE_EXPONENTIAL

    @property
    def unit(self) -> float:
        """The unit of x = S / tau: powers of two are several times cheaper than powers of e."""
        return math.log(2) if self.shared else 1.0


def fine_grained(
    video_ALD: Tensor, text_BTD: Tensor, video_mask_AL: Tensor, text_mask_BT: Tensor, settings: Settings
) -> Pair:
    """Return (video_to_text, text_to_video) of unit tokens, each [A, B], None for a direction not in ``settings``."""
    pair: Pair = _Tiled.apply(video_ALD, text_BTD, video_mask_AL, text_mask_BT, settings)
    return pair


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, video: Tensor, text: Tensor, video_mask: Tensor, text_mask: Tensor, settings: Settings
    ) -> Any:
        ctx.save_for_backward(video, text, video_mask, text_mask)
        ctx.settings = settings
        ctx.set_materialize_grads(False)
        shape = (len(video), len(text))
        video_to_text = video.new_empty(shape) if settings.video_to_text else None
        text_to_video = video.new_empty(shape) if settings.text_to_video else None
        videos, texts = _blocks(video, text, video_mask, text_mask, settings)
        for v in videos:
            for t in texts:
                scores = _forward_block(v, t, settings)
                for matrix, block in zip((video_to_text, text_to_video), scores, strict=True):
                    if matrix is not None and block is not None:
                        matrix[v.rows[:, None], t.rows] = block
        return video_to_text, text_to_video

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, video_to_text: Tensor | None, text_to_video: Tensor | None) -> Any:
        video, text, video_mask, text_mask = ctx.saved_tensors
        settings: Settings = ctx.settings
        need_video, need_text = ctx.needs_input_grad[:2]
        if video_to_text is None and text_to_video is None:
            return None, None, None, None, None
        settings = Settings(
            settings.tau, settings.aggregation, settings.padding, video_to_text is not None, text_to_video is not None
        )
        videos, texts = _blocks(video, text, video_mask, text_mask, settings)
        video_gradient = torch.zeros_like(video) if need_video else None
        text_gradient = torch.zeros_like(text) if need_text else None
        # Sums over videos are accumulated as [D, tokens], which reads the block in memory order.
        columns = [t.tokens.new_zeros(t.tokens.shape[::-1]) for t in texts] if need_text else []
        for v in videos:
            total = torch.zeros_like(v.tokens)
            for number, t in enumerate(texts):
                parts = [None if g is None else g[v.rows[:, None], t.rows] for g in (video_to_text, text_to_video)]
                D = _gradient_block(v, t, settings, parts[0], parts[1])
                if need_video:
                    total += multiply(D, t.tokens.T)
                if need_text:
                    columns[number] += multiply(v.tokens.T, D.T)
            if video_gradient is not None:
                video_gradient[v.rows, : v.length] = total.view(len(v.rows), v.length, -1)
        if text_gradient is not None:
            for t, column in zip(texts, columns, strict=True):
                # The tokens of the videos were scaled to give x.
                part = column.T.reshape(t.length, len(t.rows), -1).mul_(settings.tau * settings.unit)
                text_gradient[t.rows, : t.length] = part.transpose(0, 1)
        return video_gradient, text_gradient, None, None, None


def _blocks(
    video: Tensor, text: Tensor, video_mask: Tensor, text_mask: Tensor, settings: Settings
) -> tuple[list[Block], list[Block]]:
    cut = settings.padding == "masked"
    scale = 1 / (settings.tau * settings.unit)
    return video_blocks(video, video_mask, cut=cut, scale=scale), text_blocks(text, text_mask, cut=cut)


def _logits(v: Block, t: Block) -> Tensor:
    """Return x [a, l, t, b]: S / tau in the unit of the settings."""
    return multiply(v.tokens, t.tokens).view(len(v.rows), v.length, t.length, len(t.rows))


def _weights(x: Tensor, v: Block, t: Block, settings: Settings) -> tuple[Tensor, Tensor]:
    """Return the weights of words and of clips, zero at masked padding; one tensor for a shared exponential."""
    masked = settings.padding == "masked"
    clip_mask = v.valid[:, :, None, None] if masked and v.valid is not None else None
    word_mask = t.valid if masked and t.valid is not None else None
    if settings.shared:
        E = torch.exp2(x)
        for valid in (clip_mask, word_mask):
            if valid is not None:
                E.mul_(valid)
        return E, E
    P = Q = x
    if settings.video_to_text:
        P = torch.softmax(x if word_mask is None else x.masked_fill(~word_mask, -math.inf), 2)
    if settings.text_to_video:
        Q = torch.softmax(x if clip_mask is None else x.masked_fill(~clip_mask, -math.inf), 1)
    return P, Q


def _sums(E: Tensor, F: Tensor, dim: int, settings: Settings, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return (sum of weights, weighted mean of x) over ``dim``; any finite values where ``valid`` is False."""
    if not settings.shared:
        return torch.ones((), dtype=E.dtype, device=E.device), F.sum(dim)
    total = E.sum(dim)
    if valid is not None and settings.padding == "masked":
        total.masked_fill_(~valid, 1)
    return total, F.sum(dim).div_(total)


def _outer(v: Block, t: Block) -> tuple[Tensor | None, Tensor | None]:
    """Return masks of the clips [a, l, 1] and words [1, t, b] that are aggregated."""
    return (None if v.valid is None else v.valid[:, :, None]), (None if t.valid is None else t.valid[None])


def _forward_block(v: Block, t: Block, settings: Settings) -> Pair:
    x = _logits(v, t)
    P, Q = _weights(x, v, t, settings)
    clip_mask, word_mask = _outer(v, t)
    scale = settings.tau * settings.unit
    video_to_text = text_to_video = None
    F = x.mul_(P) if settings.shared else None
    if settings.video_to_text:
        _, r = _sums(P, P.mul_(x) if F is None else F, 2, settings, clip_mask)
        video_to_text = _aggregate(r.mul_(scale), clip_mask, settings)[0]
    if settings.text_to_video:
        _, c = _sums(Q, Q.mul_(x) if F is None else F, 1, settings, word_mask)
        text_to_video = _aggregate(c.mul_(scale), word_mask, settings)[0]
    return video_to_text, text_to_video


def _aggregate(scores: Tensor, valid: Tensor | None, settings: Settings) -> tuple[Tensor, Tensor]:
    """Return one score a pair [a, b] from the scores [a, n, b] of its valid tokens, and its derivatives [a, n, b]."""
    if settings.aggregation == "mean":
        if valid is None:
            return scores.mean(1), scores.new_full((), 1 / scores.shape[1])
        share = valid.to(scores.dtype) / valid.sum(1, keepdim=True)
        return (scores * share).sum(1), share
    filled = scores if valid is None else scores.masked_fill(~valid, -math.inf)
    if settings.aggregation == "max":
        best = filled.amax(1, keepdim=True)
        ties = (filled == best).to(scores.dtype)
        return best.squeeze(1), ties.div_(ties.sum(1, keepdim=True))
    p = torch.softmax(filled / settings.tau, 1)
    total = (p * scores).sum(1, keepdim=True)
    return total.squeeze(1), p * (1 + (scores - total) / settings.tau)


def _gradient_block(
    v: Block, t: Block, settings: Settings, video_to_text: Tensor | None, text_to_video: Tensor | None
) -> Tensor:
    """Return the gradient of S [a * l, t * b] from the gradients [a, b] of the two scores."""
    x = _logits(v, t)
    P, Q = _weights(x, v, t, settings)
    clip_mask, word_mask = _outer(v, t)
    if not settings.shared:
        D = None
        for weights, dim, valid, gradient in ((P, 2, clip_mask, video_to_text), (Q, 1, word_mask, text_to_video)):
            if gradient is not None:
                F = weights * x
                h, k = _coefficients(weights, F, dim, valid, gradient, settings)
                part = F.mul_(h.unsqueeze(dim)).addcmul_(weights, k.unsqueeze(dim))
                D = part if D is None else D.add_(part)
        assert D is not None
        return D.flatten(2).flatten(0, 1)
    F = x * P
    rows = None if video_to_text is None else _coefficients(P, F, 2, clip_mask, video_to_text, settings)
    columns = None if text_to_video is None else _coefficients(P, F, 1, word_mask, text_to_video, settings)
    if rows is None or columns is None:
        one, dim = (rows, 2) if rows is not None else (columns, 1)
        assert one is not None
        F.mul_(one[0].unsqueeze(dim)).addcmul_(P, one[1].unsqueeze(dim))
    else:
        F.mul_(torch.add(rows[0].unsqueeze(2), columns[0].unsqueeze(1), out=x))
        F.addcmul_(P, torch.add(rows[1].unsqueeze(2), columns[1].unsqueeze(1), out=x))
    return F.flatten(2).flatten(0, 1)


def _coefficients(
    E: Tensor, F: Tensor, dim: int, valid: Tensor | None, gradient: Tensor, settings: Settings
) -> tuple[Tensor, Tensor]:
    """Return (h, k) of one direction; its part of the gradient of S is E x h + E k, h = g / Z, k = h (1 / unit - r)."""
    total, mean = _sums(E, F, dim, settings, valid)
    _, share = _aggregate(mean * (settings.tau * settings.unit), valid, settings)
    # x is in units of `unit`, so the factor 1 + unit (x - r) becomes unit (x + 1 / unit - r).
    h = (gradient[:, None, :] * share * settings.unit) / total
    return h, h * (1 / settings.unit - mean)
