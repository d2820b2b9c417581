"""The recipe of sentence retrieval: a dual encoder of clip features and texts (CiCo)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from signatlas.config import LocalPath, Strict
from signatlas.models.dual_encoder.config import DualEncoderConfig
from signatlas.recipe.base import OptimizerConfig, RunRecipe, SelectionConfig
from signatlas.text.encoders.config import AugmentationConfig


class SentenceDataConfig(Strict):
    corpus: LocalPath
    features: LocalPath = Field(description="folder of clip features, see 'signatlas features'")
    languages: tuple[str, ...] = Field(("de",), min_length=1, description="BCP-47; several: 1-to-K over all of them")
    epoch_over: Literal["clip", "text"] = Field(
        "clip", description="items of an epoch; text: clips with equal texts form one item"
    )
    limit: int | None = Field(None, ge=2, description="use this many training clips, the first by id")
    shuffle_pairs: bool = Field(False, description="control: train on the texts of other clips")


class ContrastiveLossConfig(Strict):
    """The contrastive loss of CiCo; that of CLIP with the similarities 'cls' and 'mean'."""

    weighting: Literal["balance", "depart"] = "balance"
    batch_size: int = Field(128, ge=2, description="clips in a global batch")
    gradcache_chunk: int | None = Field(None, ge=1, description="gradient caching: clips encoded at a time on a rank")
    identical_texts: Literal["mask", "share", "none"] = Field(
        "mask", description="mask: not negatives; share: positives; none: negatives"
    )
    duplicate_threshold: float = Field(
        1.0, gt=0, le=1, description="minimum share of common words of texts that count as identical"
    )
    queue_size: int = Field(0, ge=0, description="past texts per language as further negatives")
    backend: Literal["auto", "reference", "tiled", "triton"] = "auto"


class SentenceSelectionConfig(SelectionConfig):
    """Selection of the best checkpoint on dev, by the mean over both directions and all languages."""

    metric: Literal["R@1", "R@5", "R@10", "MRR"] = "MRR"


class ContrastiveRecipe(RunRecipe):
    """Train a dual encoder of signing and text."""

    task: Literal["contrastive"] = "contrastive"
    data: SentenceDataConfig
    model: DualEncoderConfig = DualEncoderConfig()
    augment: AugmentationConfig = AugmentationConfig()
    loss: ContrastiveLossConfig = ContrastiveLossConfig()
    optimizer: OptimizerConfig = OptimizerConfig(weight_decay=0.001, eps=1e-6)
    checkpoint_selection: SentenceSelectionConfig = SentenceSelectionConfig()

    @model_validator(mode="after")
    def _check(self) -> ContrastiveRecipe:
        languages = self.data.languages
        if len(set(languages)) < len(languages):
            raise ValueError(f"data.languages lists a language twice: {', '.join(languages)}")
        if self.loss.backend == "triton" and not (self.scaling.gpu and self.model.similarity.aggregation == "mean"):
            raise ValueError("loss.backend triton needs a GPU (scaling.gpu: true) and aggregation mean: use auto")
        if self.loss.batch_size % self.scaling.workers:
            raise ValueError(
                f"loss.batch_size {self.loss.batch_size} is not divisible by {self.scaling.workers} workers: "
                "each needs the same number of clips"
            )
        return self
