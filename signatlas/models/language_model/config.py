"""Configuration of mBART and of its low-rank adapters."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from signatlas.config import LocalPath


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LanguageConfig(_Part):
    """mBART: by name or folder, or of these sizes with a SentencePiece vocabulary of the training texts."""

    pretrained: LocalPath | None = Field(None, description="an mBART, of the Hub or a folder; its sizes then hold")
    trim: bool = Field(True, description="keep only the pieces that the training texts use")
    vocabulary: int = Field(1000, ge=16, description="pieces of a new vocabulary, at most")
    width: int = Field(128, ge=8)
    layers: int = Field(3, ge=1, description="of the encoder and of the decoder")
    heads: int = Field(4, ge=1)
    feedforward: int = Field(512, ge=8)
    dropout: float | None = Field(None, ge=0, lt=1, description="by default a pretrained model's own, 0.1 in a new one")
    positions: int = Field(256, ge=8, description="longest sequence of pieces or of sign tokens")
    encoder_layers: int | None = Field(None, ge=1, description="keep only the first so many of the sign side")
    decoder_layers: int | None = Field(None, ge=1, description="keep only the first so many of the decoder")
    random_decoder: bool = Field(False, description="start the decoder's layers anew (GFSLT-VLP)")

    @model_validator(mode="after")
    def _heads_divide(self) -> LanguageConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self


class LoraSettings(_Part):
    """Low-rank adapters (peft) in the encoder of signing and in the decoder."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    modules: tuple[str, ...] = Field(("q_proj", "v_proj"), min_length=1, description="names of the linear layers")
    force: bool = Field(False, description="allow adapters over weights that were never trained")
