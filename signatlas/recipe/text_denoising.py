"""The recipe of mBART's own pretraining: restore corrupted texts (Liu et al. 2020), training texts only."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from signatlas.config import LocalPath, Strict
from signatlas.models.language_model.config import LanguageConfig
from signatlas.recipe.base import RunRecipe, SelectConfig


class DenoisingDataConfig(Strict):
    corpus: LocalPath
    languages: tuple[str, ...] = Field(("de",), min_length=1, description="BCP-47, of the texts")
    texts: dict[str, tuple[LocalPath, ...]] = Field(
        {}, description="further texts by language: files, a sentence a line"
    )
    limit: int | None = Field(None, ge=2, description="only so many training clips, the first by id")
    max_glosses: int | None = Field(None, ge=1, description="only clips of at most so many glosses")

    @model_validator(mode="after")
    def _known_languages(self) -> DenoisingDataConfig:
        if len(set(self.languages)) < len(self.languages):
            raise ValueError("languages names one twice")
        other = sorted(set(self.texts) - set(self.languages))
        if other:
            raise ValueError(f"texts has files in '{other[0]}', which languages does not name")
        return self


class NoiseConfig(Strict):
    """Text infilling and sentence permutation (BART, mBART)."""

    share: float = Field(0.35, gt=0, lt=1, description="of the words that are masked")
    poisson: float = Field(3.5, gt=0, description="mean length of a masked span, in words")
    permute: bool = Field(True, description="sentences of an instance change places")
    pack: int = Field(3, ge=1, description="an instance holds 1 to so many texts")


class DenoisingSelectConfig(SelectConfig):
    """How the best checkpoint is chosen: the loss on corrupted dev texts, one a row, always corrupted alike."""

    metric: Literal["loss"] = "loss"


class TextDenoisingRecipe(RunRecipe):
    """Pretrain the language model of a translator where there are no weights of the Hub, or go on from those."""

    task: Literal["text_denoising"] = "text_denoising"
    data: DenoisingDataConfig
    model: LanguageConfig = LanguageConfig()
    noise: NoiseConfig = NoiseConfig()
    batch_size: int = Field(128, ge=1, description="texts in a global batch")
    smoothing: float = Field(0.1, ge=0, lt=1, description="label smoothing")
    select: DenoisingSelectConfig = DenoisingSelectConfig()

    @model_validator(mode="after")
    def _whole_decoder(self) -> TextDenoisingRecipe:
        if self.model.random_decoder or self.model.encoder_layers is not None:
            raise ValueError("model: random_decoder and encoder_layers are for translators, not for pretraining")
        return self
