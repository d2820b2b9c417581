"""Configuration of dual encoders."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from signatlas.config import LocalPath, Strict
from signatlas.text.encoders.config import TextConfig


class SignConfig(Strict):
    """The sign side: clip features into CLIP's vision transformer, pretrained (ViT-B/32) or of any size."""

    pretrained: LocalPath | None = Field(None, description="a CLIP model, Hub name or folder, whose sizes then apply")
    features: int | None = Field(None, ge=1, description="width of the clip features; default: that of their folder")
    max_windows: int = Field(64, ge=1, description="longer sequences of windows are subsampled evenly")
    alpha: float = Field(
        0.8, ge=0, le=1, description="weight of the domain-agnostic features, x = (1-alpha) aware + alpha agnostic"
    )
    width: int = Field(128, ge=8)
    depth: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    feedforward: int = Field(256, ge=8)
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout of the attention; the paper uses none")
    mask_cls: bool = Field(
        False,
        description="treat CLS as padding: no window attends to it, and under padding released it is a key of the "
        "similarity (CiCo's released code)",
    )

    @model_validator(mode="after")
    def _check_heads(self) -> SignConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self


class SimilarityConfig(Strict):
    """The similarity of a video and a text: token by token (CiCo), or of one vector each (CLIP)."""

    kind: Literal["fine_grained", "cls", "mean"] = "fine_grained"
    aggregation: Literal["mean", "max", "softmax"] = "mean"
    padding: Literal["masked", "released"] = "masked"
    tau: float = Field(0.07, gt=0)
    beta: float = Field(0.5, ge=0, le=1, description="weight of video-to-text in the score")


class DualEncoderConfig(Strict):
    """Both sides of a dual encoder, their similarity and the joint space."""

    sign: SignConfig = SignConfig()
    text: TextConfig = TextConfig()
    similarity: SimilarityConfig = SimilarityConfig()
    embedding: int = Field(128, ge=2, description="width of the tokens that are compared")
    logit_scale: float = Field(14.3, gt=0, le=100, description="initial multiplier of the logits; CLIP's limit is 100")
