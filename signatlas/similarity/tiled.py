"""CiCo's fine-grained similarity block by block: closed-form gradient, blocks recomputed, padding skipped.

Of a block of videos and texts only its similarities exist, and only while it is worked on. With x_ij = S_ij / tau,
E = exp(x), r_i = sum_j E x / sum_j E and g_i the gradient that reaches r_i, dS_ij = E_ij / Z_i (1 + x_ij - r_i) g_i
and the same over columns: the sums of the forward pass suffice. Shapes: a videos, l clips, t words, b texts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from signatlas.similarity.blocks import Block, multiply, text_blocks, video_blocks

# Above this 1/tau each direction has its own softmax with the maximum taken off. One exponential for both overflows
# in fp32 beyond 80; half of that keeps quotients by its sums clear of underflow in the gradient as well.
ONE_EXPONENTIAL = 40.0
Pair = tuple[Tensor | None, Tensor | None]


@dataclass(frozen=True)
class Settings:
    """What is computed: the definition's choices, and which of the two directions."""

    tau: float
    aggregation: str
    padding: str
    of_clips: bool = True
    of_words: bool = True

    @property
    def shared(self) -> bool:
        """Whether one exponential serves both directions."""
        return 1 / self.tau <= ONE_EXPONENTIAL

    @property
    def unit(self) -> float:
        """x is S / tau in these units: powers of two are several times cheaper than those of e."""
        return math.log(2) if self.shared else 1.0


def fine_grained(
    video_ALD: Tensor, text_BTD: Tensor, video_mask_AL: Tensor, text_mask_BT: Tensor, settings: Settings
) -> Pair:
    """(video_to_text, text_to_video), each [A, B] or None where it is not asked for, of tokens of length one."""
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
        clips = video.new_empty(shape) if settings.of_clips else None
        words = video.new_empty(shape) if settings.of_words else None
        videos, texts = _blocks(video, text, video_mask, text_mask, settings)
        for v in videos:
            for t in texts:
                of_clips, of_words = _forward_block(v, t, settings)
                for whole, part in ((clips, of_clips), (words, of_words)):
                    if whole is not None and part is not None:
                        whole[v.rows[:, None], t.rows] = part
        return clips, words

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, clips: Tensor | None, words: Tensor | None) -> Any:
        video, text, video_mask, text_mask = ctx.saved_tensors
        settings: Settings = ctx.settings
        need_video, need_text = ctx.needs_input_grad[:2]
        if clips is None and words is None:
            return None, None, None, None, None
        settings = Settings(settings.tau, settings.aggregation, settings.padding, clips is not None, words is not None)
        videos, texts = _blocks(video, text, video_mask, text_mask, settings)
        of_video = torch.zeros_like(video) if need_video else None
        of_text = torch.zeros_like(text) if need_text else None
        # Sums over videos are collected as [D, tokens]: that product reads the block as it lies.
        columns = [t.tokens.new_zeros(t.tokens.shape[::-1]) for t in texts] if need_text else []
        for v in videos:
            total = torch.zeros_like(v.tokens)
            for number, t in enumerate(texts):
                parts = [None if g is None else g[v.rows[:, None], t.rows] for g in (clips, words)]
                D = _gradient_block(v, t, settings, parts[0], parts[1])
                if need_video:
                    total += multiply(D, t.tokens.T)
                if need_text:
                    columns[number] += multiply(v.tokens.T, D.T)
            if of_video is not None:
                of_video[v.rows, : v.length] = total.view(len(v.rows), v.length, -1)
        if of_text is not None:
            for t, column in zip(texts, columns, strict=True):
                # The videos' tokens were scaled to give x.
                part = column.T.reshape(t.length, len(t.rows), -1).mul_(settings.tau * settings.unit)
                of_text[t.rows, : t.length] = part.transpose(0, 1)
        return of_video, of_text, None, None, None


def _blocks(
    video: Tensor, text: Tensor, video_mask: Tensor, text_mask: Tensor, settings: Settings
) -> tuple[list[Block], list[Block]]:
    cut = settings.padding == "masked"
    scale = 1 / (settings.tau * settings.unit)
    return video_blocks(video, video_mask, cut=cut, scale=scale), text_blocks(text, text_mask, cut=cut)


def _logits(v: Block, t: Block) -> Tensor:
    """x [a, l, t, b]: S / tau in units of the settings."""
    return multiply(v.tokens, t.tokens).view(len(v.rows), v.length, t.length, len(t.rows))


def _weights(x: Tensor, v: Block, t: Block, settings: Settings) -> tuple[Tensor, Tensor]:
    """Weights of words and of clips, zero at padding in the masked form; one tensor where an exponential is shared."""
    masked = settings.padding == "masked"
    clips = v.valid[:, :, None, None] if masked and v.valid is not None else None
    words = t.valid if masked and t.valid is not None else None
    if settings.shared:
        E = torch.exp2(x)
        for valid in (clips, words):
            if valid is not None:
                E.mul_(valid)
        return E, E
    P = Q = x
    if settings.of_clips:
        P = torch.softmax(x if words is None else x.masked_fill(~words, -math.inf), 2)
    if settings.of_words:
        Q = torch.softmax(x if clips is None else x.masked_fill(~clips, -math.inf), 1)
    return P, Q


def _sums(E: Tensor, F: Tensor, dim: int, settings: Settings, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """(sum of weights, weighted mean of x) over ``dim``; where ``valid`` is False any finite numbers."""
    if not settings.shared:
        return torch.ones((), dtype=E.dtype, device=E.device), F.sum(dim)
    total = E.sum(dim)
    if valid is not None and settings.padding == "masked":
        total.masked_fill_(~valid, 1)
    return total, F.sum(dim).div_(total)


def _outer(v: Block, t: Block) -> tuple[Tensor | None, Tensor | None]:
    """Which clips [a, l, 1] and words [1, t, b] count in the aggregation."""
    return (None if v.valid is None else v.valid[:, :, None]), (None if t.valid is None else t.valid[None])


def _forward_block(v: Block, t: Block, settings: Settings) -> Pair:
    x = _logits(v, t)
    P, Q = _weights(x, v, t, settings)
    of_clips, of_words = _outer(v, t)
    scale = settings.tau * settings.unit
    clips = words = None
    F = x.mul_(P) if settings.shared else None
    if settings.of_clips:
        _, r = _sums(P, P.mul_(x) if F is None else F, 2, settings, of_clips)
        clips = _aggregate(r.mul_(scale), of_clips, settings)[0]
    if settings.of_words:
        _, c = _sums(Q, Q.mul_(x) if F is None else F, 1, settings, of_words)
        words = _aggregate(c.mul_(scale), of_words, settings)[0]
    return clips, words


def _aggregate(scores: Tensor, valid: Tensor | None, settings: Settings) -> tuple[Tensor, Tensor]:
    """One score a pair [a, b] from those [a, n, b] of its valid tokens, and its derivative [a, n, b] by each."""
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


def _gradient_block(v: Block, t: Block, settings: Settings, clips: Tensor | None, words: Tensor | None) -> Tensor:
    """The gradient of S [a * l, t * b] from those [a, b] of the two scores."""
    x = _logits(v, t)
    P, Q = _weights(x, v, t, settings)
    of_clips, of_words = _outer(v, t)
    if not settings.shared:
        D = None
        for weights, dim, valid, gradient in ((P, 2, of_clips, clips), (Q, 1, of_words, words)):
            if gradient is not None:
                F = weights * x
                h, k = _coefficients(weights, F, dim, valid, gradient, settings)
                part = F.mul_(h.unsqueeze(dim)).addcmul_(weights, k.unsqueeze(dim))
                D = part if D is None else D.add_(part)
        assert D is not None
        return D.flatten(2).flatten(0, 1)
    F = x * P
    rows = None if clips is None else _coefficients(P, F, 2, of_clips, clips, settings)
    columns = None if words is None else _coefficients(P, F, 1, of_words, words, settings)
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
    """(h, k) of one direction, whose part of the gradient of S is E x h + E k: h = g / Z, k = h (1 / unit - r)."""
    total, mean = _sums(E, F, dim, settings, valid)
    _, share = _aggregate(mean * (settings.tau * settings.unit), valid, settings)
    # x counts in `unit`s, so the bracket 1 + unit (x - r) becomes unit (x + 1 / unit - r).
    h = (gradient[:, None, :] * share * settings.unit) / total
    return h, h * (1 / settings.unit - mean)
