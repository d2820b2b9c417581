"""What a dual encoder is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from signatlas.config import LocalPath
from signatlas.text.encoders.config import TextConfig


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SignConfig(_Part):
    """The sign side: clip features into CLIP's vision trunk (ViT-B/32 by name or folder, else of any size)."""

    pretrained: LocalPath | None = Field(None, description="a CLIP model, of the Hub or a folder; its sizes then hold")
    features: int | None = Field(None, ge=1, description="width of the clip features; that of the folder when left out")
    max_windows: int = Field(64, ge=1, description="longer sequences of clips are subsampled evenly")
    alpha: float = Field(
        0.8, ge=0, le=1, description="share of the domain-agnostic features, x = (1-alpha) aware + alpha agnostic"
    )
    width: int = Field(128, ge=8)
    depth: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    feedforward: int = Field(256, ge=8)
    dropout: float = Field(0.0, ge=0, lt=1, description="of the attention; the paper has none")

    @model_validator(mode="after")
    def _heads_divide(self) -> SignConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self


class SimilarityConfig(_Part):
    """How a video and a text are compared: token by token (CiCo), or by one vector each (CLIP)."""

    kind: Literal["fine_grained", "cls", "mean"] = "fine_grained"
    aggregation: Literal["mean", "max", "softmax"] = "mean"
    padding: Literal["masked", "released"] = "masked"
    tau: float = Field(0.07, gt=0)
    beta: float = Field(0.5, ge=0, le=1, description="share of video-to-text in the score")


class DualEncoderConfig(_Part):
    sign: SignConfig = SignConfig()
    text: TextConfig = TextConfig()
    similarity: SimilarityConfig = SimilarityConfig()
    embedding: int = Field(128, ge=2, description="width of the tokens that are compared")
    logit_scale: float = Field(14.3, gt=0, le=100, description="multiplier at the start; CLIP's own ends at 100")
