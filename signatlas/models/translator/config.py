"""Configuration of translators: sign embedding, mBART, trained parts, alignment of video and text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from signatlas.config import LocalPath, Strict
from signatlas.models.dual_encoder.config import SimilarityConfig
from signatlas.models.language_model.config import LanguageConfig, LoraSettings
from signatlas.pose.features import PointSet, Stream


class ResNetSizes(Strict):
    """Sizes of a ResNet of transformers; by default those of ResNet-18."""

    embedding: int = Field(64, ge=1)
    hidden: tuple[int, ...] = Field((64, 128, 256, 512), min_length=1)
    depths: tuple[int, ...] = Field((2, 2, 2, 2), min_length=1)
    layer: Literal["basic", "bottleneck"] = "basic"


class BackboneConfig(Strict):
    """The backbone, which maps a frame or a window of frames to a vector.

    ``features``: stored clip features, unchanged. ``pose``: normalized points of a frame through a small network.
    ``resnet``: images of frames through a ResNet of transformers.
    """

    kind: Literal["features", "pose", "resnet"] = "features"
    features: int | None = Field(None, ge=1, description="features: their width; default: that of their folder")
    alpha: float = Field(0.8, ge=0, le=1, description="features: weight of the domain-agnostic stream")
    points: PointSet = Field("all", description="pose: set of points")
    dims: Literal[2, 3] = 2
    streams: tuple[Stream, ...] = Field(("position", "velocity", "presence"), description="pose: inputs per point")
    width: int = Field(128, ge=8, description="pose: width of the frame vectors")
    pretrained: LocalPath | None = Field(None, description="resnet: Hub name or folder; default: random weights")
    sizes: ResNetSizes = Field(ResNetSizes(), description="resnet: sizes where pretrained is not set")
    size: int = Field(224, ge=32, description="resnet: pixels of the cropped square")
    frozen: bool = False
    chunk: int = Field(64, ge=1, description="resnet: images encoded at a time; activations are computed twice")
    max_frames: int = Field(64, ge=1, description="longer sequences are subsampled evenly")
    rate: float | None = Field(None, gt=0, description="pose: frames per second that are read; default: all")


class SignEmbeddingConfig(Strict):
    """Backbone, then blocks of Conv1D, BatchNorm, ReLU and pooling (SCL-SLT; GFSLT-VLP: kernel 5, pool 2)."""

    backbone: BackboneConfig = BackboneConfig()
    width: int = Field(128, ge=8)
    blocks: int = Field(2, ge=0)
    kernel: int = Field(5, ge=1)
    pool: int = Field(2, ge=1)
    padding: Literal["same", "valid"] = Field("same", description="valid: as released, a block loses kernel-1 frames")
    dropout: float = Field(0.0, ge=0, lt=1)


class TranslatorConfig(Strict):
    """Signing to text (SCL-SLT; with ``similarity: cls`` and few layers GFSLT-VLP)."""

    sign: SignEmbeddingConfig = SignEmbeddingConfig()
    language: LanguageConfig = LanguageConfig()
    tuning: Literal["lora", "full", "frozen"] = Field("lora", description="of the sign encoder and the decoder")
    lora: LoraSettings = LoraSettings()
    text_encoder: Literal["frozen", "trained"] = Field("frozen", description="the aligned text encoder, in stage 1")
    similarity: SimilarityConfig = SimilarityConfig()
    projection: int | None = Field(None, ge=2, description="width of a linear layer on both sides before comparison")
    logit_scale: float = Field(14.3, gt=0, le=100, description="initial multiplier of the logits")
    max_tokens: int = Field(64, ge=2, description="longer texts are truncated in training, with a note")
