"""Blocks of tokens that fit the cache, cut to their longest row, and matrix products over them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Tokens of one block: on a CPU a block of similarities (1024 x 512 in fp32, 2 MiB) stays in the cache.
CPU_TOKENS = (1024, 512)
GPU_TOKENS = (8192, 8192)


@dataclass(frozen=True)
class Block:
    """Rows [R] of a batch and their tokens [R * N, D], cut to length N: ordered by row (videos) or position (texts).

    ``valid`` is bool [R, N] (videos) or [N, R] (texts), or None if no token is padding.
    """

    rows: Tensor
    length: int
    tokens: Tensor
    valid: Tensor | None


def video_blocks(tokens_BND: Tensor, mask_BN: Tensor, *, cut: bool, scale: float = 1.0) -> list[Block]:
    """Return the batch as blocks of tokens ordered by row, multiplied by ``scale``."""
    size = (GPU_TOKENS if tokens_BND.is_cuda else CPU_TOKENS)[0]
    blocks = []
    for rows, length in _plan(mask_BN, cut, size):
        tokens, mask = tokens_BND[rows, :length], mask_BN[rows, :length]
        tokens = tokens if scale == 1 else tokens * scale
        blocks.append(Block(rows, length, tokens.flatten(0, 1), None if bool(mask.all()) else mask))
    return blocks


def text_blocks(tokens_BND: Tensor, mask_BN: Tensor, *, cut: bool) -> list[Block]:
    """Return the batch as blocks of tokens ordered by position, so that sums over words are along memory."""
    size = (GPU_TOKENS if tokens_BND.is_cuda else CPU_TOKENS)[1]
    blocks = []
    for rows, length in _plan(mask_BN, cut, size):
        tokens, mask = tokens_BND[rows, :length].transpose(0, 1), mask_BN[rows, :length].T
        blocks.append(Block(rows, length, tokens.flatten(0, 1), None if bool(mask.all()) else mask.contiguous()))
    return blocks


def _plan(mask_BN: Tensor, cut: bool, size: int) -> list[tuple[Tensor, int]]:
    """Return rows and length of each block of at most ``size`` tokens (or one row), rows of similar length together."""
    count, length = mask_BN.shape
    if not cut:
        step = max(1, size // length)
        return [(rows, length) for rows in torch.arange(count, device=mask_BN.device).split(step)]
    positions = torch.arange(1, length + 1, device=mask_BN.device)
    lengths, order = (mask_BN * positions).amax(1).sort(descending=True, stable=True)
    longest, plan, start = lengths.tolist(), [], 0
    while start < count:
        stop = start + max(1, size // longest[start])
        plan.append((order[start:stop], longest[start]))
        start = stop
    return plan


def multiply(left: Tensor, right: Tensor) -> Tensor:
    """Return ``left [M, K] @ right [N, K].T``; in fp32 on a CPU by oneDNN, twice as fast as MKL on some processors."""
    if left.dtype == torch.float32 and left.device.type == "cpu" and _has_onednn():
        product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
        return product
    return left @ right.T


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
