"""Settings that all recipes share: name, seed, optimizer, checkpoint selection, scaling."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from signatlas.config import Strict


class OptimizerConfig(Strict):
    """AdamW or SGD under DeepSpeed, linear warm-up and cosine decay to zero."""

    name: Literal["adamw", "sgd"] = "adamw"
    epochs: int = Field(60, ge=1)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    no_weight_decay: Literal["none", "biases", "one_dimensional"] = Field(
        "none", description="parameters without weight decay; one_dimensional: biases, norms, scales"
    )
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = Field(1e-8, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD")
    warmup_ratio: float = Field(0.1, ge=0, le=1, description="share of all steps")
    max_grad_norm: float | None = Field(1.0, gt=0, description="global norm to clip gradients to; null: no clipping")
    precision: Literal["fp32", "bf16"] = "fp32"
    zero_stage: Literal[0, 1, 2, 3] = 0
    batches_per_epoch: int | None = Field(None, ge=1, description="default: one pass over the training data")


class ScalingConfig(Strict):
    workers: int = Field(1, ge=1)
    gpu: bool = False
    cpus_per_worker: float = Field(1, gt=0)
    threads: int = Field(1, ge=1, description="torch threads per worker")


class Recipe(Strict):
    """Base class of all recipes; a subclass has a ``task`` with a default, its key in the YAML file."""

    task: str
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    budget: str = Field("", description="measured cost")
    seed: int = Field(0, ge=0)
    storage_path: str = "runs"
    scaling: ScalingConfig = ScalingConfig()


class SelectionConfig(Strict):
    """Selection of the best checkpoint, always on dev."""

    evaluate_every: int = Field(5, ge=1, description="epochs between evaluations and checkpoints")


class RunRecipe(Recipe):
    """Base class of the recipes of one training run."""

    optimizer: OptimizerConfig = OptimizerConfig()
    checkpoint_selection: SelectionConfig = SelectionConfig()
