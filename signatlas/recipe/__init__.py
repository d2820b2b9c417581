"""Typed recipes: one YAML file says what an experiment is. Unknown keys are refused."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from signatlas.config import Strict
from signatlas.errors import RecipeError
from signatlas.recipe.base import OptimizerConfig, Recipe, RunRecipe, ScalingConfig
from signatlas.recipe.contrastive import ContrastiveRecipe
from signatlas.recipe.pseudo_label import PseudoLabelRecipe
from signatlas.recipe.sign_classifier import SignClassifierRecipe
from signatlas.recipe.sign_encoder import GroupConfig, SignEncoderRecipe, SignSelectConfig
from signatlas.recipe.text_denoising import TextDenoisingRecipe
from signatlas.recipe.translation import StageRecipe, TranslationRecipe

__all__ = [
    "RECIPES", "ContrastiveRecipe", "GroupConfig", "OptimizerConfig", "PseudoLabelRecipe", "Recipe", "RunRecipe",
    "ScalingConfig", "SignClassifierRecipe", "SignEncoderRecipe", "SignSelectConfig", "StageRecipe", "Strict",
    "TextDenoisingRecipe", "TranslationRecipe", "dump", "load", "parse",
]  # fmt: skip
# Recipe classes by task. The package trainers.tasks has a folder for each.
RECIPES: dict[str, type[Recipe]] = {
    recipe.model_fields["task"].default: recipe
    for recipe in (
        SignEncoderRecipe,
        ContrastiveRecipe,
        SignClassifierRecipe,
        PseudoLabelRecipe,
        TextDenoisingRecipe,
        TranslationRecipe,
    )
}
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
        if first["type"] == "value_error":  # a validator of our own: its line says everything
            raise RecipeError(f"{where}: {place + ': ' if place else ''}{first['ctx']['error']}") from error
        raise RecipeError(f"{where}: {place}: {first['msg']}, got {first.get('input')!r:.80}") from error


def _known(model: type[BaseModel]) -> list[str]:
    """Every key of a recipe, at any depth, to guess what a misspelled one should be."""
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
        raise RecipeError(f"--set wants key=value, for instance optimizer.lr=3e-4, got '{override}'")
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
