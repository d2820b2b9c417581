"""CiCo's fine-grained similarity with Triton: fused forward; backward recomputes the cosines' gradient in chunks."""

from __future__ import annotations

import importlib.util
import math
import os
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from signatlas.similarity.tiled import Pair, Settings

LONGEST = 128
# Video by text tokens of a tile. Compiled for sm_90 in bf16 neither kernel spills a register at these sizes.
TILES = {"scores": (128, 128), "gradients": (64, 128)}
# Tokens of videos and of texts whose gradient of cosines exists at one time: 0.5 GiB in bf16.
CHUNK = (8192, 32768)


def unavailable(video: Tensor, text: Tensor, aggregation: str) -> str | None:
    """Why the Triton kernels cannot take this, or None where they can."""
    if aggregation != "mean":
        return f"its kernels know aggregation 'mean' only, not {aggregation!r}"
    if max(video.shape[1], text.shape[1]) > LONGEST:
        return f"its kernels take at most {LONGEST} tokens a row, got {video.shape[1]} and {text.shape[1]}"
    if torch.float64 in (video.dtype, text.dtype):
        return "its kernels accumulate in fp32: fp64 needs another backend"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if not (video.is_cuda and text.is_cuda) and not _interpreted():
        return f"its kernels run on a GPU, the tokens are on {video.device} and {text.device}"
    return None


def fine_grained(
    video_ALD: Tensor,
    text_BTD: Tensor,
    video_mask_AL: Tensor,
    text_mask_BT: Tensor,
    settings: Settings,
    operand: torch.dtype = torch.float32,
) -> Pair:
    """As :func:`signatlas.similarity.tiled.fine_grained`; products are of tokens rounded to ``operand``."""
    pair: Pair = _Fused.apply(video_ALD, text_BTD, video_mask_AL, text_mask_BT, settings, operand)
    return (pair[0] if settings.of_clips else None), (pair[1] if settings.of_words else None)


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _shares(mask_BN: Tensor) -> Tensor:
    """Each token's weight in its row's mean, fp32 [B, N], zero at padding."""
    return mask_BN.float() / mask_BN.sum(1, keepdim=True)


def _launch(kernel: str, tokens: tuple[Tensor, Tensor], pairs: list[Tensor], settings: Settings) -> None:
    """Run a kernel over all tiles of videos [A, L, D] by texts [B, T, D]."""
    from signatlas.similarity import triton_kernels

    (A, L, D), (B, T, _) = (part.shape for part in tokens)
    LP, TP = (max(16, 1 << (length - 1).bit_length()) for length in (L, T))
    GA, GB = max(1, TILES[kernel][0] // LP), max(1, TILES[kernel][1] // TP)
    operand = tokens[0].dtype
    grid = (math.ceil(A / GA) * math.ceil(B / GB),)
    getattr(triton_kernels, kernel)[grid](
        *tokens, *pairs, A, B, L, T, D, settings.tau,
        GA=GA, GB=GB, LP=LP, TP=TP, BD=32 if operand == torch.float32 else 64, GROUP=8,
        MASKED=settings.padding == "masked", SHARED=settings.shared,
        PRECISION="ieee", WIDEN=_interpreted() and operand == torch.bfloat16,
        num_warps=8, num_stages=3,
    )  # fmt: skip


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        video: Tensor,
        text: Tensor,
        video_mask: Tensor,
        text_mask: Tensor,
        settings: Settings,
        operand: torch.dtype,
    ) -> Any:
        # Beyond the switch the rounding of half-precision tokens, divided by tau, would decide the softmax.
        operand = operand if settings.shared else torch.float32
        tokens = video.to(operand).contiguous(), text.to(operand).contiguous()
        shares = _shares(video_mask), _shares(text_mask)
        ctx.save_for_backward(*tokens, *shares)
        ctx.settings = settings
        clips, words = (video.new_empty(len(video), len(text)) for _ in range(2))
        _launch("scores", tokens, [*shares, clips, words], settings)
        return clips, words

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, clips: Tensor, words: Tensor) -> Any:
        video, text, *shares = ctx.saved_tensors
        need_video, need_text = ctx.needs_input_grad[:2]
        of_video, of_text = (torch.zeros_like(part, dtype=torch.float32) for part in (video, text))
        # The gradient of one cosine is tiny: in half precision it would vanish, so the largest is brought to one.
        scale = torch.maximum(clips.abs().amax(), words.abs().amax()).clamp_min(torch.finfo(torch.float32).tiny)
        clips, words = clips / scale, words / scale
        step = max(1, CHUNK[0] // video.shape[1]), max(1, CHUNK[1] // text.shape[1])
        for a in (slice(n, n + step[0]) for n in range(0, len(video), step[0])):
            for b in (slice(n, n + step[1]) for n in range(0, len(text), step[1])):
                v, w = video[a], text[b]
                D = v.new_empty(v.shape[0] * v.shape[1], w.shape[0] * w.shape[1])
                pairs = [shares[0][a], shares[1][b], clips[a, b].contiguous(), words[a, b].contiguous(), D]
                _launch("gradients", (v, w), pairs, ctx.settings)
                if need_video:
                    of_video[a] += _product(D, w.flatten(0, 1)).view(v.shape)
                if need_text:
                    of_text[b] += _product(D.T, v.flatten(0, 1)).view(w.shape)
        of_video, of_text = of_video.mul_(scale), of_text.mul_(scale)
        return (of_video if need_video else None), (of_text if need_text else None), None, None, None, None


def _product(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right`` in fp32, of half-precision factors too."""
    if left.dtype == torch.float32:
        return left @ right
    if left.is_cuda and hasattr(torch.ops.aten.mm, "dtype"):
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()
