"""The recipe of the sign encoder: metric learning on isolated signs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from signatlas.config import LocalPath, Strict
from signatlas.models.sign_encoder import SignEncoderConfig
from signatlas.pose.augment import AugmentConfig
from signatlas.recipe.base import RunRecipe, SelectionConfig


class GroupConfig(Strict):
    """A part of the training clips; its classes are contrasted with each other, never with those of another part."""

    source: str | None = Field(None, description="clips of this source; default: all")
    label: Literal["gloss", "id"] = Field("gloss", description="id: each clip is a class")
    classes_per_batch: int = Field(30, ge=2)
    samples_per_class: int = Field(3, ge=2)
    all_splits: bool = Field(False, description="use all splits, for a dictionary")


class DataConfig(Strict):
    corpus: LocalPath
    groups: tuple[GroupConfig, ...] = (GroupConfig(),)
    exclude_glosses: tuple[str, ...] = Field((), description="words to leave out of groups with gloss labels")
    exclude_shared: bool = Field(False, description="leave out the words that occur in both webcam and dictionary")


class LossConfig(Strict):
    """SupCon."""

    temperature: float = Field(0.1, gt=0)


class SignSelectionConfig(SelectionConfig):
    """Selection of the best checkpoint on dev."""

    protocol: Literal["closed", "one-shot"] = "closed"
    metric: Literal["R@1", "R@10", "mAP", "MRR"] = "mAP"
    gallery_source: str | None = None
    query_source: str | None = None


class SignEncoderRecipe(RunRecipe):
    """Train the sign encoder on isolated signs."""

    task: Literal["sign_encoder"] = "sign_encoder"
    data: DataConfig
    model: SignEncoderConfig = SignEncoderConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    checkpoint_selection: SignSelectionConfig = SignSelectionConfig()
