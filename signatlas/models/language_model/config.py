"""Configuration of mBART and of its low-rank adapters."""

from __future__ import annotations

from pydantic import Field, model_validator

from signatlas.config import LocalPath, Strict


class LanguageConfig(Strict):
    """mBART: pretrained, or of these sizes with a SentencePiece vocabulary of the training texts."""

    pretrained: LocalPath | None = Field(None, description="an mBART, Hub name or folder, whose sizes then apply")
    trim: bool = Field(True, description="keep only the pieces that the training texts use")
    vocabulary: int = Field(1000, ge=16, description="largest number of pieces of a new vocabulary")
    width: int = Field(128, ge=8)
    layers: int = Field(3, ge=1, description="of the encoder and of the decoder")
    heads: int = Field(4, ge=1)
    feedforward: int = Field(512, ge=8)
    dropout: float | None = Field(None, ge=0, lt=1, description="default: that of a pretrained model, else 0.1")
    positions: int = Field(256, ge=8, description="longest sequence of pieces or of sign tokens")
    encoder_layers: int | None = Field(None, ge=1, description="keep only the first layers of the sign side")
    decoder_layers: int | None = Field(None, ge=1, description="keep only the first layers of the decoder")
    random_decoder: bool = Field(False, description="initialize the decoder's layers randomly (GFSLT-VLP)")

    @model_validator(mode="after")
    def _check_heads(self) -> LanguageConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self


class LoraSettings(Strict):
    """Low-rank adapters (peft) in the sign encoder and in the decoder."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    modules: tuple[str, ...] = Field(("q_proj", "v_proj"), min_length=1, description="names of the linear layers")
    force: bool = Field(False, description="allow adapters over weights that were never trained")
