"""Typed recipes: YAML files that describe an experiment, checked against a class for each task."""

from __future__ import annotations

import contextlib
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
from signatlas.recipe.keys import hint
from signatlas.recipe.pseudo_label import PseudoLabelRecipe
from signatlas.recipe.sign_classifier import SignClassifierRecipe
from signatlas.recipe.sign_encoder import GroupConfig, SignEncoderRecipe, SignSelectionConfig
from signatlas.recipe.text_denoising import TextDenoisingRecipe
from signatlas.recipe.translation import StageRecipe, TranslationRecipe

__all__ = [
    "RECIPES", "ContrastiveRecipe", "GroupConfig", "OptimizerConfig", "PseudoLabelRecipe", "Recipe", "RunRecipe",
    "ScalingConfig", "SignClassifierRecipe", "SignEncoderRecipe", "SignSelectionConfig", "StageRecipe", "Strict",
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
    """Return the recipe in a YAML file; ``overrides`` are ``a.b=value`` with YAML values. Raises RecipeError."""
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"no recipe at {path}; see the folder recipes/") from error
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise RecipeError(f"{path} is not a YAML file: {str(error).splitlines()[0]}") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"{path} is not a recipe: it has no settings")
    for override in overrides:
        try:
            _apply(raw, override)
        except (IndexError, TypeError, AttributeError, ValueError, yaml.YAMLError) as error:
            raise RecipeError(f"--set {override}: no such setting in {path}") from error
    task = raw.get("task", "sign_encoder")
    if task not in RECIPES:
        raise RecipeError(f"{path}: unknown task '{task}', expected one of {', '.join(RECIPES)}")
    return parse(RECIPES[task], raw, str(path))


def parse(model: type[R], raw: dict[str, Any], where: str) -> R:
    """Return validated settings; error messages start with ``where``. Raises RecipeError for the first one."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise RecipeError(f"{where}: unknown key '{path}'{hint(path, model)}") from error
        if first["type"] == "value_error":  # raised by our validators with a complete message
            raise RecipeError(f"{where}: {path + ': ' if path else ''}{first['ctx']['error']}") from error
        raise RecipeError(f"{where}: {path}: {first['msg']}, got {first.get('input')!r:.80}") from error


def _apply(raw: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise RecipeError(f"--set needs key=value, for instance optimizer.lr=3e-4, got '{override}'")
    *parents, last = key.strip().split(".")
    node: Any = raw
    for part in parents:
        node = node[int(part)] if isinstance(node, list) and part.isdigit() else node.setdefault(part, {})
    parsed = yaml.safe_load(value)
    if isinstance(parsed, str):
        # YAML 1.1 reads 3e-4 as a string.
        with contextlib.suppress(ValueError):
            parsed = float(parsed)
    if isinstance(node, list):
        node[int(last)] = parsed
    else:
        node[last] = parsed


def dump(recipe: BaseModel) -> str:
    """Return a recipe as YAML with all defaults written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
