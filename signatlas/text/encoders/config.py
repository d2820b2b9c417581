"""What a text encoder reads and how large it is, and how training texts are varied."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from signatlas.config import LocalPath


class TextConfig(BaseModel):
    """The text side of a dual encoder.

    ``pieces``: a Transformer of our own over the SentencePiece pieces of USE-m3 that the training texts use.
    ``clip``: CLIP's text model, ``huggingface``: any encoder of Hugging Face; both by ``name``, of the Hub or a folder.
    ``sentence``: one frozen USE-m3 vector a text, for pooled similarities.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["pieces", "clip", "huggingface", "sentence"] = "pieces"
    name: LocalPath | None = None
    max_tokens: int = Field(32, ge=1, description="longer texts are subsampled evenly, as the paper does")
    width: int = Field(128, ge=8)
    depth: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    feedforward: int = Field(256, ge=8)
    dropout: float = Field(0.0, ge=0, lt=1)
    special_tokens: bool = Field(
        False, description="of clip: start and end of text are tokens, counted in max_tokens (CiCo's released code)"
    )
    init: Literal["random", "usem3"] = Field("random", description="of the embeddings of 'pieces': USE-m3's own")

    @model_validator(mode="after")
    def _complete(self) -> TextConfig:
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width {self.width} must be even and a multiple of heads {self.heads}")
        if self.kind in ("clip", "huggingface") and not self.name:
            raise ValueError(f"kind {self.kind} needs the name of a model, of the Hub or a folder")
        if self.special_tokens and (self.kind != "clip" or self.max_tokens < 3):
            raise ValueError("special_tokens needs kind clip and max_tokens of at least 3")
        return self


class AugmentationConfig(BaseModel):
    """Easy data augmentation of training texts (Wei and Zou 2019), as CiCo uses it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["none", "swap", "full"] = Field("none", description="full: synonym, swap or deletion")
    probability: float = Field(0.5, ge=0, le=1, description="of a text to be changed; the paper: swap .5, full .8")
    strength: float = Field(0.1, gt=0, le=1, description="share of the words that a change touches, at least one")
