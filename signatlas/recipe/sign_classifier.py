"""The recipe of the sign classifier: windows of isolated signs, cross-entropy (domain-agnostic encoder of CiCo)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from signatlas.config import LocalPath, Strict
from signatlas.features.views import ViewConfig
from signatlas.models.sign_encoder import SignEncoderConfig
from signatlas.pose.augment import AugmentConfig
from signatlas.recipe.base import RunRecipe, SelectionConfig


class ClassGroupConfig(Strict):
    """A part of the training clips and its share of each batch. Equal class names in two parts are one class."""

    source: str | None = Field(None, description="clips of this source; default: all")
    label: Literal["gloss", "id"] = Field("gloss", description="id: each clip is a class")
    per_batch: int = Field(96, ge=1, description="windows in a batch")


class ClassifierDataConfig(Strict):
    corpus: LocalPath
    groups: tuple[ClassGroupConfig, ...] = Field((ClassGroupConfig(),), min_length=1)


class ClassifierSelectionConfig(SelectionConfig):
    """Selection of the best checkpoint on windows of dev clips of known classes."""

    metric: Literal["accuracy", "top5"] = "accuracy"
    source: str | None = None
    windows: int = Field(4, ge=1, description="windows per dev clip")


class SignClassifierRecipe(RunRecipe):
    """Train the sign classifier on isolated signs."""

    task: Literal["sign_classifier"] = "sign_classifier"
    data: ClassifierDataConfig
    model: SignEncoderConfig = SignEncoderConfig(frames=16)
    views: ViewConfig = ViewConfig()
    augment: AugmentConfig = AugmentConfig()
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    checkpoint_selection: ClassifierSelectionConfig = ClassifierSelectionConfig()
