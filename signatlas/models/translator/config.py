"""What a translator is made of: sign embedding, mBART, what of it learns, how video and text are aligned."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from signatlas.config import LocalPath
from signatlas.models.dual_encoder.config import SimilarityConfig
from signatlas.models.language_model.config import LanguageConfig, LoraSettings
from signatlas.pose.features import PointSet, Stream


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ResNetSizes(_Part):
    """Of a ResNet of transformers; these are ResNet-18's."""

    embedding: int = Field(64, ge=1)
    hidden: tuple[int, ...] = Field((64, 128, 256, 512), min_length=1)
    depths: tuple[int, ...] = Field((2, 2, 2, 2), min_length=1)
    layer: Literal["basic", "bottleneck"] = "basic"


class BackboneConfig(_Part):
    """What turns one frame, or one window of frames, into a vector.

    ``features``: clip features of a folder, as they are. ``pose``: points of a frame, normalized, through a small
    network. ``resnet``: pictures of a frame through a ResNet-18 of transformers, by name or folder.
    """

    kind: Literal["features", "pose", "resnet"] = "features"
    features: int | None = Field(None, ge=1, description="features: their width; that of the folder when left out")
    alpha: float = Field(0.8, ge=0, le=1, description="features: share of the domain-agnostic stream")
    points: PointSet = Field("all", description="pose: which points")
    dims: Literal[2, 3] = 2
    streams: tuple[Stream, ...] = Field(("position", "velocity", "presence"), description="pose: what is told of them")
    width: int = Field(128, ge=8, description="pose: width of the frame vectors")
    pretrained: LocalPath | None = Field(None, description="resnet: Hub name or folder; default: random weights")
    sizes: ResNetSizes = Field(ResNetSizes(), description="resnet: without pretrained, whose own sizes hold")
    size: int = Field(224, ge=32, description="resnet: pixels of the cropped square")
    frozen: bool = False
    chunk: int = Field(64, ge=1, description="resnet: pictures at a time; their activations are computed twice")
    max_frames: int = Field(64, ge=1, description="longer sequences are subsampled evenly")
    rate: float | None = Field(None, gt=0, description="pose: frames a second that are looked at; all when left out")


class SignEmbeddingConfig(_Part):
    """Frame vectors, then Conv1D, BatchNorm, ReLU and pooling, twice (SCL-SLT; GFSLT-VLP: kernel 5, pool 2)."""

    backbone: BackboneConfig = BackboneConfig()
    width: int = Field(128, ge=8)
    blocks: int = Field(2, ge=0)
    kernel: int = Field(5, ge=1)
    pool: int = Field(2, ge=1)
    padding: Literal["same", "valid"] = Field("same", description="valid: the released one, loses kernel-1 frames")
    dropout: float = Field(0.0, ge=0, lt=1)


class TranslatorConfig(_Part):
    """Signing to text (SCL-SLT; with ``similarity: cls`` and few layers GFSLT-VLP)."""

    sign: SignEmbeddingConfig = SignEmbeddingConfig()
    language: LanguageConfig = LanguageConfig()
    tuning: Literal["lora", "full", "frozen"] = Field("lora", description="of the encoder of signing and the decoder")
    lora: LoraSettings = LoraSettings()
    text_encoder: Literal["frozen", "trained"] = Field("frozen", description="the aligned text side, in stage 1")
    similarity: SimilarityConfig = SimilarityConfig()
    projection: int | None = Field(None, ge=2, description="width of a linear layer on both sides before comparison")
    logit_scale: float = Field(14.3, gt=0, le=100, description="multiplier at the start")
    max_tokens: int = Field(64, ge=2, description="longer texts are cut in training, and said so")
