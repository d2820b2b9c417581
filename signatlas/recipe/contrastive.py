"""The recipe of sentence retrieval: clip features and texts in one space (CiCo)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from signatlas.config import LocalPath, Strict
from signatlas.models.dual_encoder.config import DualEncoderConfig
from signatlas.recipe.base import OptimizerConfig, RunRecipe, SelectConfig
from signatlas.text.encoders.config import AugmentationConfig


class SentenceDataConfig(Strict):
    corpus: LocalPath
    features: LocalPath = Field(description="folder of clip features, see 'signatlas features'")
    languages: tuple[str, ...] = Field(("de",), min_length=1, description="BCP-47; several: 1-to-K over all of them")
    sentences: Literal["clip", "text"] = Field(
        "clip", description="what an epoch passes over; text: equal texts are one sentence with several videos"
    )
    limit: int | None = Field(None, ge=2, description="only so many training clips, the first by id")
    shuffle_pairs: bool = Field(False, description="control: train on texts of other clips")


class ContrastiveLossConfig(Strict):
    """CiCo's loss; with the similarity 'cls' or 'mean' it is that of CLIP."""

    weighting: Literal["balance", "depart"] = "balance"
    batch_size: int = Field(128, ge=2, description="clips in a global batch")
    chunk: int | None = Field(None, ge=1, description="gradient caching: so many clips a rank are encoded at a time")
    identical: Literal["mask", "share", "none"] = Field("mask", description="what identical texts are to each other")
    near: float = Field(1.0, gt=0, le=1, description="share of common words from which two texts count as identical")
    queue: int = Field(0, ge=0, description="past texts a language that serve as further negatives")
    backend: Literal["auto", "reference", "tiled", "triton"] = "auto"


class SentenceSelectConfig(SelectConfig):
    """How the best checkpoint is chosen; always on dev, as the mean of both directions and all languages."""

    metric: Literal["R@1", "R@5", "R@10", "MRR"] = "MRR"


class ContrastiveRecipe(RunRecipe):
    """Train a dual encoder of signing and text."""

    task: Literal["contrastive"] = "contrastive"
    data: SentenceDataConfig
    model: DualEncoderConfig = DualEncoderConfig()
    augment: AugmentationConfig = AugmentationConfig()
    loss: ContrastiveLossConfig = ContrastiveLossConfig()
    optimizer: OptimizerConfig = OptimizerConfig(weight_decay=0.001, eps=1e-6)
    select: SentenceSelectConfig = SentenceSelectConfig()

    @model_validator(mode="after")
    def _possible(self) -> ContrastiveRecipe:
        languages = self.data.languages
        if len(set(languages)) < len(languages):
            raise ValueError(f"data.languages names one language twice: {', '.join(languages)}")
        if self.loss.backend == "triton" and not (self.scaling.gpu and self.model.similarity.aggregation == "mean"):
            raise ValueError("loss.backend triton needs a GPU (scaling.gpu: true) and aggregation mean: take auto")
        if self.loss.batch_size % self.scaling.workers:
            raise ValueError(
                f"batch_size {self.loss.batch_size} is not divisible by {self.scaling.workers} workers: "
                "each needs equally many clips"
            )
        return self
