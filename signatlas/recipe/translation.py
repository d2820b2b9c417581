"""The recipes of gloss-free translation: the stages of SCL-SLT as one recipe, and what one stage is (SCL-SLT)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from signatlas.config import LocalPath, Strict
from signatlas.models.translator.config import TranslatorConfig
from signatlas.recipe.base import OptimizerConfig, Recipe, RunRecipe, SelectConfig


class TranslationDataConfig(Strict):
    corpus: LocalPath
    features: LocalPath | None = Field(None, description="folder of clip features, for the backbone 'features'")
    frames: LocalPath | None = Field(
        None, description="folder of videos or picture folders, named by clip id, for 'resnet'"
    )
    readers: int = Field(4, ge=1, description="threads a worker that decode pictures, for 'resnet'")
    language: str = Field("de", description="BCP-47, of the texts")
    limit: int | None = Field(None, ge=2, description="only so many training clips, the first by id")
    max_glosses: int | None = Field(None, ge=1, description="only clips of at most so many glosses")
    bucket: int = Field(8, ge=1, description="batches drawn at a time and sorted by length; 1: no buckets")


class StageOptimizerConfig(OptimizerConfig):
    """The paper's: AdamW 1e-4, cosine."""

    lr: float = Field(1e-4, gt=0)
    accumulation: int = Field(1, ge=1, description="parts a rank's batch is cut into; one update for all of them")
    checkpointing: bool = Field(False, description="keep no activations of mBART's layers, compute them again")

    @model_validator(mode="after")
    def _whole_passes(self) -> StageOptimizerConfig:
        if self.batches_per_epoch is not None:
            raise ValueError("an epoch of translation is one pass over the clips: leave out batches_per_epoch")
        return self


class MaskedLanguageConfig(Strict):
    """GFSLT-VLP: the decoder restores masked texts from the text encoder's view of them, every ``every`` steps."""

    every: int = Field(0, ge=0, description="0: never; GFSLT-VLP: 5")
    share: float = Field(0.15, gt=0, lt=1, description="of the pieces that are masked")
    weight: float = Field(1.0, gt=0)


class AlignmentConfig(Strict):
    """Stage 1: contrast of videos and texts beside translation. ``contrast: none`` is the end-to-end baseline."""

    contrast: Literal["none", "random", "selective"] = "random"
    batch_size: int = Field(16, ge=1, description="clips in a global batch")
    weight: float = Field(1.0, ge=0, description="of the contrast")
    translation: float = Field(1.0, ge=0, description="weight of the translation loss; GFSLT-VLP: 0")
    identical: Literal["mask", "share", "none"] = Field("mask", description="what identical texts are to each other")
    gather: bool = Field(True, description="contrast over the batch of all ranks; GFSLT-VLP: each rank by itself")
    masked_language: MaskedLanguageConfig = MaskedLanguageConfig()
    optimizer: StageOptimizerConfig = StageOptimizerConfig(epochs=80)


class TranslationStageConfig(Strict):
    """Stage 2: translation alone."""

    batch_size: int = Field(8, ge=1, description="clips in a global batch")
    optimizer: StageOptimizerConfig = StageOptimizerConfig(epochs=200)


class SelectionConfig(Strict):
    """Which negatives meet in a batch (SCL-SLT, Algorithm 1; readings of its open points)."""

    reference: LocalPath | None = Field(None, description="folder of a reference run; default: trained first")
    epochs: int | None = Field(None, ge=2, description="of the reference run; those of stage 1 when left out")
    every: int = Field(5, ge=1, description="epochs between the checkpoints of the reference run")
    schedule: Literal["easy", "hard", "linear", "sqrt", "log", "log2"] = Field(
        "log", description="log: log(1+(E-1)p)/log(E); log2: log2(1+p)"
    )
    trajectory: Literal["endpoints", "slope"] = "endpoints"
    zscore: bool = Field(False, description="bring each checkpoint's similarities to mean 0 and deviation 1")
    window: float = Field(0.0, ge=0, le=1, description="draw from this share of the candidates around the quantile")
    pool: int | None = Field(None, ge=2, description="choose within shuffled pools of so many clips; default by memory")
    low_rank: bool = Field(False, description="pooled vectors instead of tokens: no matrix")


class TranslationSelectConfig(SelectConfig):
    """How the best checkpoint is chosen, on dev, and how texts are decoded."""

    metric: Literal["BLEU-4", "BLEU-1", "ROUGE-L", "chrF", "loss", "MRR", "contrast"] = Field(
        "BLEU-4",
        description="MRR: of dev clips and texts that find each other; contrast: its loss, by which a stage 1 that "
        "translates nothing is chosen in any case (GFSLT-VLP)",
    )
    beams: int = Field(4, ge=1, description="on dev while training; 'signatlas evaluate' has its own, 8")
    max_new_tokens: int = Field(60, ge=1)
    limit: int | None = Field(None, ge=1, description="only so many dev clips while training, evenly taken")


class TranslationRecipe(Recipe):
    """Train a translator: reference run and its trajectories where batches are selected, stage 1, stage 2."""

    task: Literal["translation"] = "translation"
    data: TranslationDataConfig
    model: TranslatorConfig = TranslatorConfig()
    start: LocalPath | None = Field(
        None, description="folder of a translator to start from, such as that of stage 1"
    )
    alignment: AlignmentConfig | None = Field(AlignmentConfig(), description="stage 1; null leaves it out")
    selection: SelectionConfig = SelectionConfig()
    translation: TranslationStageConfig | None = Field(
        TranslationStageConfig(), description="stage 2; null leaves it out"
    )
    smoothing: float = Field(0.2, ge=0, lt=1, description="label smoothing")
    select: TranslationSelectConfig = TranslationSelectConfig()

    @model_validator(mode="after")
    def _possible(self) -> TranslationRecipe:
        if self.alignment is None and self.translation is None:
            raise ValueError("alignment and translation are both null: there is nothing to train")
        for name, stage in (("alignment", self.alignment), ("translation", self.translation)):
            if stage is not None:
                _check_batch(name, stage.batch_size, self.scaling.workers, stage.optimizer.accumulation)
        if self.alignment is not None and self.alignment.contrast != "none":
            if self.alignment.batch_size < 2:
                raise ValueError("alignment.batch_size 1 leaves nothing to contrast with")
            if self.alignment.optimizer.accumulation > 1:
                raise ValueError(
                    "alignment.optimizer.accumulation would contrast each part with itself only: take more workers"
                )
            self._check_reference(self.alignment)
        self._check_losses()
        return self

    def _check_losses(self) -> None:
        """Every stage learns something, and has what its checkpoints are chosen by."""
        aligned, metric = self.alignment, self.select.metric
        contrasts = aligned is not None and aligned.contrast != "none"
        if aligned is not None and not contrasts and not aligned.translation:
            raise ValueError("alignment.contrast none and alignment.translation 0 leave stage 1 nothing to learn")
        if metric in ("MRR", "contrast") and (not contrasts or self.translation is not None):
            raise ValueError(
                f"select.metric {metric} is of a contrast, which stage 2 has not: choose BLEU-4 or loss"
                if contrasts
                else f"select.metric {metric} is of a contrast, and alignment.contrast is none: choose BLEU-4 or loss"
            )

    def _check_reference(self, aligned: AlignmentConfig) -> None:
        """A pool fills a batch; a reference run that is still to be trained keeps two models at least."""
        pool = self.selection.pool
        if aligned.contrast == "selective" and pool is not None and pool < aligned.batch_size:
            raise ValueError(f"selection.pool {pool} does not fill a batch of {aligned.batch_size} clips")
        epochs, every = self.selection.epochs or aligned.optimizer.epochs, self.selection.every
        if aligned.contrast == "selective" and self.selection.reference is None and epochs < 2 * every:
            raise ValueError(
                f"a reference run of {epochs} epochs with a checkpoint every {every} has fewer than two: "
                "lower selection.every or give it more epochs"
            )


class StageRecipe(RunRecipe):
    """One stage of a TranslationRecipe, as the workers of its run get it."""

    task: Literal["translation_stage"] = "translation_stage"
    data: TranslationDataConfig
    model: TranslatorConfig
    start: LocalPath | None = None
    alignment: AlignmentConfig | None = None
    selection: SelectionConfig | None = None
    trajectories: LocalPath | None = Field(None, description="folder of the reference model's token features")
    batch_size: int
    smoothing: float
    optimizer: StageOptimizerConfig
    select: TranslationSelectConfig
    keep_every: int | None = Field(None, description="epochs between checkpoints that are all kept")


def _check_batch(name: str, batch_size: int, workers: int, parts: int) -> None:
    if batch_size % (workers * parts):
        raise ValueError(
            f"{name}.batch_size {batch_size} is not divisible by {workers} workers times {parts} parts: "
            "each needs equally many clips"
        )
