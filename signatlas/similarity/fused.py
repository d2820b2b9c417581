"""Fine-grained similarity with Triton (CiCo, Eq. 2): fused forward, gradient of the cosines recomputed in chunks."""

from __future__ import annotations

import importlib.util
import math
import os
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from signatlas.similarity.tiled import Pair, Settings

MAX_TOKENS = 128
# Video by text tokens of a tile; neither kernel spills registers at these sizes (sm_90, bf16).
TILES = {"scores": (128, 128), "gradients": (64, 128)}
# Video by text tokens whose gradient of cosines is in memory at one time: 0.5 GiB in bf16.
CHUNK = (8192, 32768)


def unavailable(video: Tensor, text: Tensor, aggregation: str) -> str | None:
    """Return why the Triton kernels cannot be used, None if they can."""
    if aggregation != "mean":
        return f"its kernels know aggregation 'mean' only, not {aggregation!r}"
    if max(video.shape[1], text.shape[1]) > MAX_TOKENS:
        return f"its kernels take at most {MAX_TOKENS} tokens a row, got {video.shape[1]} and {text.shape[1]}"
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
    """Return what :func:`signatlas.similarity.tiled.fine_grained` does; tokens are multiplied in type ``operand``."""
    pair: Pair = _Fused.apply(video_ALD, text_BTD, video_mask_AL, text_mask_BT, settings, operand)
    return (pair[0] if settings.video_to_text else None), (pair[1] if settings.text_to_video else None)


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _shares(mask_BN: Tensor) -> Tensor:
    """Return each token's weight in the mean of its row, fp32 [B, N], zero at padding."""
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
        # For small tau the rounding of half-precision tokens, divided by tau, would dominate the softmax.
        operand = operand if settings.shared else torch.float32
        tokens = video.to(operand).contiguous(), text.to(operand).contiguous()
        shares = _shares(video_mask), _shares(text_mask)
        ctx.save_for_backward(*tokens, *shares)
        ctx.settings = settings
        video_to_text, text_to_video = (video.new_empty(len(video), len(text)) for _ in range(2))
        _launch("scores", tokens, [*shares, video_to_text, text_to_video], settings)
        return video_to_text, text_to_video

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, video_to_text: Tensor, text_to_video: Tensor) -> Any:
        video, text, *shares = ctx.saved_tensors
        need_video, need_text = ctx.needs_input_grad[:2]
        video_gradient, text_gradient = (torch.zeros_like(part, dtype=torch.float32) for part in (video, text))
        # The gradient of one cosine would underflow in half precision: scale the largest to one.
        largest = torch.maximum(video_to_text.abs().amax(), text_to_video.abs().amax())
        scale = largest.clamp_min(torch.finfo(torch.float32).tiny)
        gradients = video_to_text / scale, text_to_video / scale
        step = max(1, CHUNK[0] // video.shape[1]), max(1, CHUNK[1] // text.shape[1])
        for a in (slice(n, n + step[0]) for n in range(0, len(video), step[0])):
            for b in (slice(n, n + step[1]) for n in range(0, len(text), step[1])):
                v, w = video[a], text[b]
                D = v.new_empty(v.shape[0] * v.shape[1], w.shape[0] * w.shape[1])
                pairs = [shares[0][a], shares[1][b], *(g[a, b].contiguous() for g in gradients), D]
                _launch("gradients", (v, w), pairs, ctx.settings)
                if need_video:
                    video_gradient[a] += _product(D, w.flatten(0, 1)).view(v.shape)
                if need_text:
                    text_gradient[b] += _product(D.T, v.flatten(0, 1)).view(w.shape)
        video_gradient, text_gradient = video_gradient.mul_(scale), text_gradient.mul_(scale)
        return (video_gradient if need_video else None), (text_gradient if need_text else None), None, None, None, None


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Return ``left @ right`` accumulated in fp32."""
    if left.dtype == torch.float32:
        return left @ right
    if left.is_cuda and hasattr(torch.ops.aten.mm, "dtype"):
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()
