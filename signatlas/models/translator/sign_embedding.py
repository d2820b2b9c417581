"""The sign embedding of translators: frame vectors, then temporal convolutions (SCL-SLT; GFSLT-VLP)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from signatlas.errors import ModelError
from signatlas.models.translator.config import BackboneConfig, SignEmbeddingConfig
from signatlas.models.translator.pose_backbone import PoseBackbone
from signatlas.models.translator.temporal_convolution import TemporalConvolution
from signatlas.pose import features as pose_features

if TYPE_CHECKING:
    from signatlas.models.translator.resnet_backbone import ResNetBackbone


class FeatureBackbone(nn.Module):
    """Clip features [B, L, features] to [B, L, width]: LayerNorm and a linear layer.

    LayerNorm because features of different encoders, and of windows full and half empty, differ in length; what
    follows may have no BatchNorm (``blocks: 0``).
    """

    def __init__(self, features: int, width: int):
        super().__init__()
        self.width = width
        self.norm, self.linear = nn.LayerNorm(features), nn.Linear(features, width)

    def forward(self, x_BLF: Tensor, mask_BL: Tensor) -> Tensor:
        x = x_BLF.masked_fill(~mask_BL[..., None], 0.0).to(self.linear.weight.dtype)
        return self.linear(self.norm(x))


class SignEmbedding(nn.Module):
    """Inputs of ``SignInputs`` and their mask bool [B, T] to sign tokens [B, T', width] and their mask [B, T'].

    ``features`` is the width of clip features, for the backbone ``features``. What lies in the padding, even NaN, has
    no influence. ``config`` afterwards has the sizes of a pretrained ResNet: save that one, with which it is built
    again without the Hub.
    """

    def __init__(self, config: SignEmbeddingConfig, features: int | None = None, load_pretrained: bool = False):
        super().__init__()
        self.width = config.width
        self.backbone, self.config = _backbone(config, features, load_pretrained)
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
        """Frames or windows that a clip must have for one token."""
        return self.convolution.shortest

    def output_length(self, n: int) -> int:
        """Tokens of a clip of ``n`` frames or windows. Raises ValueError for too short a clip."""
        return self.convolution.output_length(n)

    def forward(self, x: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Raises ValueError under ``padding: valid`` for a clip of fewer frames than :attr:`shortest`."""
        tokens, mask = self.convolution(self.backbone(x, mask_BT), mask_BT)
        return self.project(tokens).masked_fill(~mask[..., None], 0.0), mask


def input_width(config: BackboneConfig, features: int | None) -> int:
    """Numbers a frame or window that a backbone of vectors takes. Raises ModelError when they are not known."""
    if config.kind == "pose":
        return pose_features.width(config.points, config.dims, config.streams)
    if features is None and config.features is None:
        raise ModelError(
            "the backbone 'features' needs their width: name a folder of clip features or backbone.features"
        )
    return features or config.features or 0


def _backbone(
    config: SignEmbeddingConfig, features: int | None, load_pretrained: bool
) -> tuple[FeatureBackbone | PoseBackbone | ResNetBackbone, SignEmbeddingConfig]:
    backbone = config.backbone
    if backbone.kind == "resnet":
        from signatlas.models.translator import resnet_backbone

        model, sizes = resnet_backbone.build(backbone, load_pretrained)
        known = backbone.model_copy(update={"sizes": sizes})
        return model, config.model_copy(update={"backbone": known})
    inputs = input_width(backbone, features)
    if backbone.kind == "pose":
        return PoseBackbone(inputs, backbone.width), config
    return FeatureBackbone(inputs, config.width), config
