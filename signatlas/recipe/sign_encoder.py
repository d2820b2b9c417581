"""The recipe of the sign encoder: isolated signs, groups of classes, metric learning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from signatlas.config import LocalPath, Strict
from signatlas.models.sign_encoder import SignEncoderConfig
from signatlas.pose.augment import AugmentConfig
from signatlas.recipe.base import RunRecipe, SelectConfig


class GroupConfig(Strict):
    """A part of the training clips whose classes are contrasted with each other and with no other part's."""

    source: str | None = Field(None, description="clips of this source; all when left out")
    label: Literal["gloss", "id"] = Field("gloss", description="id: every clip is a class of its own")
    classes_per_batch: int = Field(30, ge=2)
    samples_per_class: int = Field(3, ge=2)
    all_splits: bool = Field(False, description="use every split; for a dictionary, which is known as a whole")


class DataConfig(Strict):
    corpus: LocalPath
    groups: tuple[GroupConfig, ...] = (GroupConfig(),)
    exclude_glosses: tuple[str, ...] = Field((), description="words that no gloss-labeled group may show")
    exclude_shared: bool = Field(False, description="leave out the words that webcam and dictionary share")


class LossConfig(Strict):
    name: Literal["supcon"] = "supcon"
    temperature: float = Field(0.1, gt=0)


class SignSelectConfig(SelectConfig):
    """How the best checkpoint is chosen; always on dev."""

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
    select: SignSelectConfig = SignSelectConfig()
