"""Typed recipes: one YAML file says what an experiment is. Unknown keys are refused."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from signatlas.errors import RecipeError
from signatlas.models.sign_encoder import SignEncoderConfig
from signatlas.pose.augment import AugmentConfig


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GroupConfig(Strict):
    """A part of the training clips whose classes are contrasted with each other and with no other part's."""

    source: str | None = Field(None, description="clips of this source; all when left out")
    label: Literal["gloss", "id"] = Field("gloss", description="id: every clip is a class of its own")
    classes_per_batch: int = Field(30, ge=2)
    samples_per_class: int = Field(3, ge=2)
    all_splits: bool = Field(False, description="use every split; for a dictionary, which is known as a whole")


class DataConfig(Strict):
    corpus: str
    groups: tuple[GroupConfig, ...] = (GroupConfig(),)
    exclude_glosses: tuple[str, ...] = Field((), description="words that no gloss-labelled group may show")
    exclude_shared: bool = Field(False, description="leave out the words that webcam and dictionary share")


class LossConfig(Strict):
    name: Literal["supcon"] = "supcon"
    temperature: float = Field(0.1, gt=0)


class OptimiserConfig(Strict):
    """AdamW under DeepSpeed, linear warm-up and cosine decay to zero."""

    epochs: int = Field(60, ge=1)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: float = Field(0.1, ge=0, le=1, description="share of all steps")
    clip: float = Field(1.0, gt=0, description="largest global gradient norm")
    precision: Literal["fp32", "bf16"] = "fp32"
    zero: Literal[0, 1, 2, 3] = 0
    batches_per_epoch: int | None = Field(None, ge=1, description="default: one pass over the largest group")


class SelectConfig(Strict):
    """How the best checkpoint is chosen; always on dev."""

    protocol: Literal["closed", "one-shot"] = "closed"
    metric: Literal["R@1", "R@10", "mAP", "MRR"] = "mAP"
    every: int = Field(5, ge=1, description="epochs between evaluations and checkpoints")
    gallery_source: str | None = None
    query_source: str | None = None


class ScalingConfig(Strict):
    workers: int = Field(1, ge=1)
    gpu: bool = False
    cpus_per_worker: float = Field(1, gt=0)
    threads: int = Field(1, ge=1, description="torch threads a worker")


class SignEncoderRecipe(Strict):
    """Train the sign encoder on isolated signs."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    task: Literal["sign_encoder"] = "sign_encoder"
    budget: str = Field("", description="what it costs, measured")
    seed: int = Field(0, ge=0)
    storage_path: str = "runs"
    data: DataConfig
    model: SignEncoderConfig = SignEncoderConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    select: SelectConfig = SelectConfig()
    scaling: ScalingConfig = ScalingConfig()


Recipe = SignEncoderRecipe
RECIPES: dict[str, type[Recipe]] = {"sign_encoder": SignEncoderRecipe}
R = TypeVar("R", bound=BaseModel)


def load(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe; ``overrides`` are ``a.b=value`` with YAML values. Raises RecipeError."""
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"no recipe at {path}; the recipes/ folder has them") from error
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise RecipeError(f"{path} is not a YAML file: {str(error).splitlines()[0]}") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"{path} holds no settings")
    for override in overrides:
        try:
            _apply(raw, override)
        except (IndexError, TypeError, AttributeError, ValueError, yaml.YAMLError) as error:
            raise RecipeError(f"--set {override}: there is no such setting in {path}") from error
    task = raw.get("task", "sign_encoder")
    if task not in RECIPES:
        raise RecipeError(f"{path}: unknown task '{task}', expected one of {', '.join(RECIPES)}")
    return parse(RECIPES[task], raw, str(path))


def parse(model: type[R], raw: dict[str, Any], where: str) -> R:
    """Validate ``raw``; the first mistake becomes one line. Raises RecipeError."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"])
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(first["loc"][-1]), _known(model), n=1)
            hint = f", did you mean '{near[0]}'?" if near else ""
            raise RecipeError(f"{where}: unknown key '{place}'{hint}") from error
        raise RecipeError(f"{where}: {place}: {first['msg']}, got {first.get('input')!r:.80}") from error


def _known(model: type[BaseModel]) -> list[str]:
    """Every key of a recipe, at any depth, to guess what a misspelt one should be."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        names.append(name)
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                names.extend(_known(kind))
    return names


def _apply(raw: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise RecipeError(f"--set wants key=value, for instance optimiser.lr=3e-4, got '{override}'")
    *path, last = key.strip().split(".")
    place: Any = raw
    for part in path:
        place = place[int(part)] if isinstance(place, list) and part.isdigit() else place.setdefault(part, {})
    parsed = yaml.safe_load(value)
    if isinstance(parsed, str):
        # YAML 1.1 reads 3e-4 as text; a recipe means the number.
        with contextlib.suppress(ValueError):
            parsed = float(parsed)
    if isinstance(place, list):
        place[int(last)] = parsed
    else:
        place[last] = parsed


def dump(recipe: BaseModel) -> str:
    """The resolved recipe as YAML, every default written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
