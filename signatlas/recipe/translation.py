"""The recipes of gloss-free translation (SCL-SLT): all stages as one recipe, and a single stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from signatlas.config import LocalPath, Strict
from signatlas.models.translator.config import TranslatorConfig
from signatlas.recipe.base import OptimizerConfig, Recipe, RunRecipe, SelectionConfig


class TranslationDataConfig(Strict):
    corpus: LocalPath
    features: LocalPath | None = Field(None, description="folder of clip features, for backbone 'features'")
    frames: LocalPath | None = Field(
        None, description="folder of videos or image folders, named by clip id, for 'resnet'"
    )
    readers: int = Field(4, ge=1, description="threads per worker that decode images, for 'resnet'")
    language: str = Field("de", description="of the texts, BCP 47")
    limit: int | None = Field(None, ge=2, description="use this many training clips, the first by id")
    max_glosses: int | None = Field(None, ge=1, description="use clips of at most this many glosses")
    bucket_batches: int = Field(8, ge=1, description="batches drawn together and sorted by length; 1: no buckets")


class StageOptimizerConfig(OptimizerConfig):
    """Defaults of SCL-SLT: AdamW, 1e-4, cosine."""

    lr: float = Field(1e-4, gt=0)
    gradient_accumulation_steps: int = Field(1, ge=1, description="micro-batches of a rank for one update")
    gradient_checkpointing: bool = Field(False, description="recompute the activations of mBART in backward")

    @model_validator(mode="after")
    def _check_passes(self) -> StageOptimizerConfig:
        if self.batches_per_epoch is not None:
            raise ValueError("an epoch of translation is one pass over the clips: remove batches_per_epoch")
        return self


class MaskedLanguageConfig(Strict):
    """Masked language modeling of GFSLT-VLP: the decoder restores masked texts from the text encoder's output."""

    every_steps: int = Field(0, ge=0, description="0: never; GFSLT-VLP: 5")
    mask_ratio: float = Field(0.15, gt=0, lt=1, description="share of the pieces")
    weight: float = Field(1.0, gt=0)


class AlignmentConfig(Strict):
    """Stage 1: contrastive and translation loss. ``contrast: none`` is the end-to-end baseline."""

    contrast: Literal["none", "random", "selective"] = "random"
    batch_size: int = Field(16, ge=1, description="clips in a global batch")
    contrast_weight: float = Field(1.0, ge=0)
    translation_weight: float = Field(1.0, ge=0, description="GFSLT-VLP: 0")
    identical_texts: Literal["mask", "share", "none"] = Field(
        "mask", description="mask: not negatives; share: positives; none: negatives"
    )
    gather: bool = Field(True, description="contrast over all ranks; false, as in GFSLT-VLP: within each rank")
    masked_language: MaskedLanguageConfig = MaskedLanguageConfig()
    optimizer: StageOptimizerConfig = StageOptimizerConfig(epochs=80)


class TranslationStageConfig(Strict):
    """Stage 2: translation loss only."""

    batch_size: int = Field(8, ge=1, description="clips in a global batch")
    optimizer: StageOptimizerConfig = StageOptimizerConfig(epochs=200)


class NegativeSelectionConfig(Strict):
    """Selection of the negatives in a batch (SCL-SLT, Algorithm 1)."""

    reference: LocalPath | None = Field(None, description="folder of a reference run; default: trained first")
    reference_epochs: int | None = Field(None, ge=2, description="of the reference run; default: those of stage 1")
    keep_every: int = Field(5, ge=1, description="epochs between kept checkpoints of the reference run")
    schedule: Literal["easy", "hard", "linear", "sqrt", "log", "log2"] = Field(
        "log", description="log: log(1+(E-1)p)/log(E); log2: log2(1+p)"
    )
    trajectory: Literal["endpoints", "slope"] = "endpoints"
    zscore: bool = Field(False, description="standardize the similarities of each checkpoint")
    window: float = Field(0.0, ge=0, le=1, description="share of the candidates around the quantile to draw from")
    pool_size: int | None = Field(None, ge=2, description="clips in a pool to select from; default: by memory")
    low_rank: bool = Field(False, description="similarities of pooled vectors, without a matrix")


class TranslationSelectionConfig(SelectionConfig):
    """Selection of the best checkpoint on dev, and decoding of dev texts."""

    metric: Literal["BLEU-4", "BLEU-1", "ROUGE-L", "chrF", "loss", "MRR", "contrast"] = Field(
        "BLEU-4",
        description="MRR: of retrieval between dev clips and texts; contrast: the contrastive loss, always used for a "
        "stage 1 without a translation loss (GFSLT-VLP)",
    )
    beams: int = Field(4, ge=1, description="while training; 'signatlas evaluate' has its own default")
    max_new_tokens: int = Field(60, ge=1)
    limit: int | None = Field(None, ge=1, description="use this many dev clips while training, evenly spaced")


class TranslationRecipe(Recipe):
    """Train a translator: reference run (for selected batches), stage 1, stage 2."""

    task: Literal["translation"] = "translation"
    data: TranslationDataConfig
    model: TranslatorConfig = TranslatorConfig()
    init_from: LocalPath | None = Field(
        None, description="folder of a translator to start from, such as that of stage 1"
    )
    alignment: AlignmentConfig | None = Field(AlignmentConfig(), description="stage 1; null skips it")
    negative_selection: NegativeSelectionConfig = NegativeSelectionConfig()
    translation: TranslationStageConfig | None = Field(TranslationStageConfig(), description="stage 2; null skips it")
    label_smoothing: float = Field(0.2, ge=0, lt=1)
    checkpoint_selection: TranslationSelectionConfig = TranslationSelectionConfig()

    @model_validator(mode="after")
    def _check(self) -> TranslationRecipe:
        if self.alignment is None and self.translation is None:
            raise ValueError("alignment and translation are both null: nothing to train")
        for name, stage in (("alignment", self.alignment), ("translation", self.translation)):
            if stage is not None:
                _check_batch(name, stage.batch_size, self.scaling.workers, stage.optimizer.gradient_accumulation_steps)
        if self.alignment is not None and self.alignment.contrast != "none":
            if self.alignment.batch_size < 2:
                raise ValueError("alignment.batch_size 1 leaves no negatives: use at least 2")
            if self.alignment.optimizer.gradient_accumulation_steps > 1:
                raise ValueError(
                    "alignment.optimizer.gradient_accumulation_steps would contrast clips within a micro-batch only: "
                    "use more workers"
                )
            self._check_reference(self.alignment)
        self._check_losses()
        return self

    def _check_losses(self) -> None:
        """Check that each stage has a loss, and the metric its checkpoints are selected by."""
        aligned, metric = self.alignment, self.checkpoint_selection.metric
        contrasts = aligned is not None and aligned.contrast != "none"
        if aligned is not None and not contrasts and not aligned.translation_weight:
            raise ValueError("alignment.contrast none and alignment.translation_weight 0: stage 1 has no loss")
        if metric in ("MRR", "contrast") and (not contrasts or self.translation is not None):
            reason = "stage 2 has none" if contrasts else "alignment.contrast is none"
            raise ValueError(
                f"checkpoint_selection.metric {metric} needs a contrastive loss, and {reason}: choose BLEU-4 or loss"
            )

    def _check_reference(self, aligned: AlignmentConfig) -> None:
        """Check that a pool fills a batch and that a reference run to be trained keeps two checkpoints."""
        pool = self.negative_selection.pool_size
        if aligned.contrast == "selective" and pool is not None and pool < aligned.batch_size:
            raise ValueError(f"negative_selection.pool_size {pool} does not fill a batch of {aligned.batch_size} clips")
        selection = self.negative_selection
        epochs, every = selection.reference_epochs or aligned.optimizer.epochs, selection.keep_every
        if aligned.contrast == "selective" and selection.reference is None and epochs < 2 * every:
            raise ValueError(
                f"a reference run of {epochs} epochs that keeps a checkpoint every {every} has fewer than two: lower "
                "negative_selection.keep_every or raise negative_selection.reference_epochs"
            )


class StageRecipe(RunRecipe):
    """One stage of a :class:`TranslationRecipe`: the recipe of one training run."""

    task: Literal["translation_stage"] = "translation_stage"
    data: TranslationDataConfig
    model: TranslatorConfig
    init_from: LocalPath | None = None
    alignment: AlignmentConfig | None = None
    negative_selection: NegativeSelectionConfig | None = None
    trajectories: LocalPath | None = Field(None, description="folder of the reference model's token features")
    batch_size: int
    label_smoothing: float
    optimizer: StageOptimizerConfig
    checkpoint_selection: TranslationSelectionConfig
    keep_every: int | None = Field(None, description="epochs between checkpoints that are all kept")


def _check_batch(name: str, batch_size: int, workers: int, parts: int) -> None:
    if batch_size % (workers * parts):
        raise ValueError(
            f"{name}.batch_size {batch_size} is not divisible by {workers} workers times {parts} micro-batches: "
            "each needs the same number of clips"
        )
