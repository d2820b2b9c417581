"""Global similarity: one vector a video, one a text (the CLIP baseline of the supplement's Table 1)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def pooled(video_AD: Tensor, text_BD: Tensor) -> Tensor:
    """Cosines [A, B] of vectors that are normalized here."""
    if video_AD.shape[-1] != text_BD.shape[-1]:
        raise ValueError(f"video vectors are {video_AD.shape[-1]} wide, text vectors {text_BD.shape[-1]}")
    return F.normalize(video_AD, dim=-1) @ F.normalize(text_BD, dim=-1).T


def mean_pooled(tokens_BND: Tensor, mask_BN: Tensor) -> Tensor:
    """The mean [B, D] of each row's valid tokens, each brought to length one first."""
    valid = mask_BN[..., None].to(tokens_BND.dtype)
    return (F.normalize(tokens_BND, dim=-1) * valid).sum(1) / valid.sum(1).clamp_min(1)
