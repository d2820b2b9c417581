"""The recipe of the sign classifier: windows of isolated signs, cross-entropy (CiCo's domain-agnostic encoder)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from signatlas.config import LocalPath, Strict
from signatlas.features.views import ViewConfig
from signatlas.models.sign_encoder import SignEncoderConfig
from signatlas.pose.augment import AugmentConfig
from signatlas.recipe.base import RunRecipe, SelectConfig


class ClassGroupConfig(Strict):
    """A part of the training clips and its share of each batch. Equal class names of two parts are one class."""

    source: str | None = Field(None, description="clips of this source; all when left out")
    label: Literal["gloss", "id"] = Field("gloss", description="id: every clip is a class of its own")
    per_batch: int = Field(96, ge=1, description="windows of a batch")


class ClassifierDataConfig(Strict):
    corpus: LocalPath
    groups: tuple[ClassGroupConfig, ...] = Field((ClassGroupConfig(),), min_length=1)


class ClassifierSelectConfig(SelectConfig):
    """How the best checkpoint is chosen; always on windows of dev clips whose class was trained."""

    metric: Literal["accuracy", "top5"] = "accuracy"
    source: str | None = None
    windows: int = Field(4, ge=1, description="windows of a dev clip")


class SignClassifierRecipe(RunRecipe):
    """Train the sign classifier on isolated signs."""

    task: Literal["sign_classifier"] = "sign_classifier"
    data: ClassifierDataConfig
    model: SignEncoderConfig = SignEncoderConfig(frames=16)
    views: ViewConfig = ViewConfig()
    augment: AugmentConfig = AugmentConfig()
    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing")
    select: ClassifierSelectConfig = ClassifierSelectConfig()
