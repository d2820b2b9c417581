"""Layers that encoders of signing and of text share: a pre-norm Transformer and pooling (reverse dictionary, 4.5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sinusoids(length: int, width: int) -> Tensor:
    """Return a fixed positional encoding [length, width] (Vaswani et al. 2017, 3.5)."""
    position = torch.arange(length)[:, None]
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    table = torch.zeros(length, width)
    table[:, 0::2], table[:, 1::2] = torch.sin(position * frequency), torch.cos(position * frequency)
    return table


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each after a LayerNorm and inside a residual connection."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, feedforward), nn.Linear(feedforward, width)

    def forward(self, x_BTD: Tensor, bias: Tensor | None) -> Tensor:
        B, T, D = x_BTD.shape
        q, k, v = self.qkv(self.norm1(x_BTD)).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        drop = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=drop)
        x = x_BTD + F.dropout(self.out(mixed.transpose(1, 2).reshape(B, T, D)), self.dropout, self.training)
        hidden = F.dropout(F.gelu(self.up(self.norm2(x))), self.dropout, self.training)
        return x + F.dropout(self.down(hidden), self.dropout, self.training)


class Transformer(nn.Module):
    """Frames [B, T, D] with validity [B, T] to contextual frames [B, T, D]; padding has no influence."""

    def __init__(self, width: int, depth: int, heads: int, feedforward: int, dropout: float, max_frames: int):
        super().__init__()
        self.register_buffer("positions", sinusoids(max_frames, width), persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads, feedforward, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, x_BTD: Tensor, valid_BT: Tensor) -> Tensor:
        x = x_BTD + self.get_buffer("positions")[: x_BTD.shape[1]].to(x_BTD.dtype)
        bias = None if bool(valid_BT.all()) else valid_BT[:, None, None, :]
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x)


class AttentionPooling(nn.Module):
    """Sum of valid frames weighted by the softmax of one learned score per frame and head; [B, T, D] -> [B, D]."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.score, self.value = nn.Linear(width, heads), nn.Linear(width, width)

    def forward(self, x_BTD: Tensor, valid_BT: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        score_BTH = self.score(x_BTD).masked_fill(~valid_BT[..., None], float("-inf"))
        at_least_fp32 = torch.promote_types(x_BTD.dtype, torch.float32)
        weight_BTH = score_BTH.softmax(dim=1, dtype=at_least_fp32).to(x_BTD.dtype)
        value = self.value(x_BTD).view(B, T, weight_BTH.shape[-1], -1)
        return (weight_BTH[..., None] * value).sum(1).reshape(B, D)


class MeanPooling(nn.Module):
    """Mean over valid frames, [B, T, D] -> [B, D]."""

    def forward(self, x_BTD: Tensor, valid_BT: Tensor) -> Tensor:
        valid = valid_BT[..., None].to(x_BTD.dtype)
        return (x_BTD * valid).sum(1) / valid.sum(1).clamp_min(1)
