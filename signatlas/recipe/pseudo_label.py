"""The recipe of the domain-aware encoder: pseudo-labels on continuous signing, fine-tuning on them (CiCo)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from signatlas.config import LocalPath, Strict
from signatlas.pose.augment import AugmentConfig
from signatlas.recipe.base import OptimizerConfig, RunRecipe, SelectionConfig


class SpotConfig(Strict):
    """Merging of windows into segments; the defaults are those of CiCo."""

    threshold: float = Field(0.6, ge=0, lt=1, description="minimum softmax probability of a window's best class")
    merge: int = Field(3, ge=0, description="merge windows of a class that start at most this many frames apart")
    suppress: int = Field(24, ge=0, description="no second segment of a class starts within this many frames")
    stride: int = Field(1, ge=1, description="frames between windows")


class PseudoLabelDataConfig(Strict):
    corpus: LocalPath = Field(description="continuous signing; trains on the train split, selects on the dev split")
    model: LocalPath = Field(description="the sign classifier to start from: a folder or a Hub name")
    segments: LocalPath | None = Field(None, description="folder of 'signatlas spot' on train; default: spotted first")
    dev_segments: LocalPath | None = Field(None, description="the same for dev")


class PseudoLabelSelectionConfig(SelectionConfig):
    """Selection of the best checkpoint on the first model's segments of dev, never on true spans."""

    metric: Literal["accuracy", "top5"] = "accuracy"


class PseudoLabelRecipe(RunRecipe):
    """Spot segments with a sign classifier and fine-tune it on them."""

    task: Literal["pseudo_label"] = "pseudo_label"
    data: PseudoLabelDataConfig
    spot: SpotConfig = SpotConfig()
    augment: AugmentConfig = AugmentConfig()
    batch_size: int = Field(128, ge=2, description="segments in a global batch")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    optimizer: OptimizerConfig = OptimizerConfig(name="sgd", lr=1e-2, momentum=0.9, epochs=15, weight_decay=0.0)
    checkpoint_selection: PseudoLabelSelectionConfig = PseudoLabelSelectionConfig()
