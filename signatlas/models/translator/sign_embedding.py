"""The sign embedding of translators: frame vectors, then temporal convolutions (SCL-SLT; GFSLT-VLP)."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from signatlas.errors import ModelError
from signatlas.models.translator.backbones import FeatureBackbone, PoseBackbone, ResNetBackbone
from signatlas.models.translator.config import BackboneConfig, SignEmbeddingConfig
from signatlas.models.translator.masked_norm import MaskedBatchNorm
from signatlas.pose import features as pose_features


class TemporalConvolution(nn.Module):
    """Frames [B, L, inputs] with mask bool [B, L] to fewer tokens [B, L', width] with their mask [B, L'].

    ``blocks`` times a convolution of ``kernel`` frames, BatchNorm, ReLU and max pooling over ``pool`` frames.
    ``padding='same'``: zeros around a clip, ceil(n / pool) frames a block. ``'valid'``: only windows inside a clip
    count, floor((n - kernel + 1) / pool) frames. A clip's output does not depend on the batch around it, except for
    BatchNorm's statistics in training.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        blocks: int = 2,
        kernel: int = 5,
        pool: int = 2,
        padding: Literal["same", "valid"] = "same",
        dropout: float = 0.0,
    ):
        super().__init__()
        self.kernel, self.pool, self.padding = kernel, pool, padding
        self.width = width if blocks else inputs
        sizes = [inputs, *[width] * blocks]
        around = (kernel - 1) // 2 if padding == "same" else 0
        self._after = kernel - 1 - 2 * around if padding == "same" else 0  # an even kernel reads one more frame ahead
        self.convolutions = nn.ModuleList(nn.Conv1d(a, b, kernel, padding=around) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(MaskedBatchNorm(width) for _ in range(blocks))
        self.dropout = nn.Dropout(dropout)

    @property
    def shortest(self) -> int:
        """Smallest number of frames of a clip that gives one token."""
        frames = 1
        if self.padding == "valid":
            for _ in self.convolutions:
                frames = frames * self.pool + self.kernel - 1
        return frames

    def output_length(self, frames: int) -> int:
        """Return the number of tokens of a clip. Raises ValueError for fewer frames than :attr:`shortest`."""
        self._check_length(frames)
        for _ in self.convolutions:
            frames = -(-frames // self.pool) if self.padding == "same" else (frames - self.kernel + 1) // self.pool
        return frames

    def forward(self, x_BLD: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        if self.padding == "valid":
            self._check_length(int(mask_BL.sum(1).min()))
        x, mask = x_BLD.masked_fill(~mask_BL[..., None], 0.0).transpose(1, 2), mask_BL
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = convolution(F.pad(x, (0, self._after)) if self._after else x)
            if self.padding == "valid":
                mask = mask.unfold(1, self.kernel, 1).all(-1)
            # Padding is zero and no value is below zero after ReLU: padding never wins the maximum.
            x, mask = self._pool(F.relu(norm(x, mask)), mask)
            x = self.dropout(x)
        return x.transpose(1, 2), mask

    def _pool(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        if self.pool == 1:
            return x, mask
        if self.padding == "valid":
            full = mask.unfold(1, self.pool, self.pool).all(-1)
            return F.max_pool1d(x, self.pool).masked_fill(~full[:, None], 0.0), full
        partial = F.max_pool1d(mask[:, None].to(x.dtype), self.pool, ceil_mode=True)[:, 0] > 0
        return F.max_pool1d(x, self.pool, ceil_mode=True), partial

    def _check_length(self, frames: int) -> None:
        if frames < self.shortest:
            raise ValueError(
                f"a clip of {frames} frames is too short: {len(self.convolutions)} convolutions without padding need "
                f"{self.shortest}"
            )


class SignEmbedding(nn.Module):
    """Inputs of ``SignInputs`` and their mask bool [B, T] to sign tokens [B, T', width] and their mask [B, T'].

    ``features`` is the width of clip features, for the backbone ``features``. Padding has no influence, even NaN.
    The attribute ``config`` has the sizes of a pretrained ResNet: saved with the model, it rebuilds it without the Hub.
    """

    def __init__(self, config: SignEmbeddingConfig, features: int | None = None, load_pretrained: bool = False):
        super().__init__()
        self.width = config.width
        self.backbone, self.config = _build_backbone(config, features, load_pretrained)
        if config.backbone.frozen:
            self.backbone.requires_grad_(False)
        self.convolution = TemporalConvolution(
            self.backbone.width, config.width, blocks=config.blocks, kernel=config.kernel, pool=config.pool,
            padding=config.padding, dropout=config.dropout,
        )  # fmt: skip
        same = self.convolution.width == config.width
        self.project: nn.Module = nn.Identity() if same else nn.Linear(self.convolution.width, config.width)

    @property
    def shortest(self) -> int:
        """Smallest number of frames or windows of a clip that gives one token."""
        return self.convolution.shortest

    def output_length(self, frames: int) -> int:
        """Return the number of tokens of a clip's frames or windows. Raises ValueError for too short a clip."""
        return self.convolution.output_length(frames)

    def forward(self, x: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens and mask. Raises ValueError for ``padding: valid`` and a clip shorter than :attr:`shortest`."""
        tokens, mask = self.convolution(self.backbone(x, mask_BT), mask_BT)
        return self.project(tokens).masked_fill(~mask[..., None], 0.0), mask


def input_width(config: BackboneConfig, features: int | None) -> int:
    """Return the width of a frame's or window's input. Raises ModelError when that of clip features is not known."""
    if config.kind == "pose":
        return pose_features.width(config.points, config.dims, config.streams)
    if features is None and config.features is None:
        raise ModelError(
            "the backbone 'features' needs their width: give a folder of clip features, or set backbone.features"
        )
    return features or config.features or 0


def _build_backbone(
    config: SignEmbeddingConfig, features: int | None, load_pretrained: bool
) -> tuple[FeatureBackbone | PoseBackbone | ResNetBackbone, SignEmbeddingConfig]:
    """Return the backbone, and the configuration with the sizes of a pretrained one."""
    backbone = config.backbone
    if backbone.kind == "resnet":
        model, sizes = ResNetBackbone.build(backbone, load_pretrained)
        with_sizes = backbone.model_copy(update={"sizes": sizes})
        return model, config.model_copy(update={"backbone": with_sizes})
    inputs = input_width(backbone, features)
    if backbone.kind == "pose":
        return PoseBackbone(inputs, backbone.width), config
    return FeatureBackbone(inputs, config.width), config
