"""The recipe of denoising pretraining: restore corrupted training texts (mBART, Liu et al. 2020)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from signatlas.config import LocalPath, Strict
from signatlas.models.language_model.config import LanguageConfig
from signatlas.recipe.base import RunRecipe, SelectionConfig


class DenoisingDataConfig(Strict):
    corpus: LocalPath
    languages: tuple[str, ...] = Field(("de",), min_length=1, description="of the texts, BCP 47")
    texts: dict[str, tuple[LocalPath, ...]] = Field(
        {}, description="further texts by language: files with one sentence per line"
    )
    limit: int | None = Field(None, ge=2, description="use this many training clips, the first by id")
    max_glosses: int | None = Field(None, ge=1, description="use clips of at most this many glosses")

    @model_validator(mode="after")
    def _known_languages(self) -> DenoisingDataConfig:
        if len(set(self.languages)) < len(self.languages):
            raise ValueError("data.languages lists a language twice")
        other = sorted(set(self.texts) - set(self.languages))
        if other:
            raise ValueError(f"data.texts has files in '{other[0]}', which is not in data.languages")
        return self


class NoiseConfig(Strict):
    """Text infilling and sentence permutation (BART, mBART)."""

    mask_ratio: float = Field(0.35, gt=0, lt=1, description="share of the words")
    poisson_lambda: float = Field(3.5, gt=0, description="mean length of a masked span in words")
    permute_sentences: bool = Field(True, description="within an instance")
    max_texts: int = Field(3, ge=1, description="texts in an instance, drawn from 1 to this number")


class DenoisingSelectionConfig(SelectionConfig):
    """Selection of the best checkpoint by the loss on dev texts with fixed corruption."""


class TextDenoisingRecipe(RunRecipe):
    """Pretrain the language model of a translator, from scratch or from weights of the Hub."""

    task: Literal["text_denoising"] = "text_denoising"
    data: DenoisingDataConfig
    model: LanguageConfig = LanguageConfig()
    noise: NoiseConfig = NoiseConfig()
    batch_size: int = Field(128, ge=1, description="texts in a global batch")
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    checkpoint_selection: DenoisingSelectionConfig = DenoisingSelectionConfig()

    @model_validator(mode="after")
    def _whole_decoder(self) -> TextDenoisingRecipe:
        if self.model.random_decoder or self.model.encoder_layers is not None:
            raise ValueError("model.random_decoder and model.encoder_layers are for translators, not for pretraining")
        return self
