"""Study files: the settings of a recipe to search, their values, and the number of trials."""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from signatlas.errors import RecipeError
from signatlas.recipe import Recipe, Strict, load, parse
from signatlas.recipe.keys import renamed

Point = dict[str, Any]  # a value for each path of a study's space
METRIC, TIME = "best", "epochs"  # keys of a trial's reports: the best value so far, and the completed epochs
REFERENCE_ONLY = ("negative_selection.reference_epochs", "negative_selection.keep_every")
KINDS = ("choice", "uniform", "loguniform", "randint", "lograndint")


class Values(Strict):
    """The values of one setting: exactly one of these. Ranges include both ends."""

    choice: list[Any] | None = Field(None, min_length=1, description="any YAML values")
    uniform: tuple[float, float] | None = None
    loguniform: tuple[float, float] | None = None
    randint: tuple[int, int] | None = None
    lograndint: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _one(self) -> Values:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"give exactly one of {', '.join(KINDS)}")
        if self.choice is not None:
            texts = [encoded(value) for value in self.choice]
            if len(set(texts)) < len(texts):
                raise ValueError("choice lists a value twice")
            return self
        low, high = self.ends
        if not low < high or not math.isfinite(high - low):
            raise ValueError(f"{self.kind} needs [low, high] with low < high, got [{low:g}, {high:g}]")
        if self.kind.startswith("log") and low <= 0:
            raise ValueError(f"{self.kind} needs a low end above 0, got {low:g}")
        return self

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def ends(self) -> tuple[float, float]:
        """The lower and upper end of a range."""
        low, high = getattr(self, self.kind)
        return low, high

    def contains(self, value: Any) -> bool:
        """Return whether ``value`` is one of these values."""
        if self.choice is not None:
            return encoded(value) in [encoded(choice) for choice in self.choice]
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        valid_type = self.kind in ("uniform", "loguniform") or value == round(value)
        return valid_type and self.ends[0] <= value <= self.ends[1]

    def samples(self) -> list[Any]:
        """Return the values to validate a recipe with: all of a choice, both ends of a range."""
        return list(self.choice) if self.choice is not None else list(getattr(self, self.kind))

    def __str__(self) -> str:
        return f"{self.kind} {json.dumps(getattr(self, self.kind), ensure_ascii=False)}"


class SearcherConfig(Strict):
    """The source of settings: Optuna's tree-structured Parzen estimator, random draws, or a grid of all choices."""

    name: Literal["optuna", "random", "grid"] = "optuna"
    seed: int = Field(0, ge=0)
    startup: int = Field(10, ge=1, description="random trials before Optuna's estimator starts")


class SchedulerConfig(Strict):
    """Early stopping: at epochs grace, grace*reduction, ... asha stops all but the best 1/reduction of the trials."""

    name: Literal["asha", "none"] = "asha"
    grace: int = Field(1, ge=1, description="epochs that every trial runs")
    reduction: float = Field(3, gt=1)


class Study(Strict):
    """A search over settings of a recipe."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    budget: str = Field("", description="measured cost, for the report")
    recipe: str = Field(description="path of the hand-set recipe, relative to the working folder")
    set: dict[str, Any] = Field({}, description="fixed settings, path: value")
    space: dict[str, Values] = Field(min_length=1)
    metric: str = Field("score", description="a metric that dev evaluations report")
    mode: Literal["max", "min"] = "max"
    trials: int = Field(10, ge=1, description="including the hand-set recipe, trial 0; ignored by a grid")
    searcher: SearcherConfig = SearcherConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    concurrent: int | None = Field(None, ge=1, description="concurrent trials; as many as fit the cluster by default")
    storage_path: str = "runs/tune"

    @field_validator("space", mode="before")
    @classmethod
    def _require_mappings(cls, space: Any) -> Any:
        for path, values in space.items() if isinstance(space, dict) else ():
            if not isinstance(values, dict):
                raise ValueError(f"{path} needs one of {', '.join(KINDS)}, for instance {{choice: [a, b]}}")
        return space

    @model_validator(mode="after")
    def _check_space(self) -> Study:
        if repeated := sorted({*self.set} & {*self.space}):
            raise ValueError(f"'{repeated[0]}' is in both set and space: remove it from one")
        ranges = [path for path, values in self.space.items() if values.choice is None]
        if self.searcher.name == "grid" and ranges:
            raise ValueError(f"a grid needs choices, not a range ('{ranges[0]}'): list values, or use optuna or random")
        return self


def load_study(path: str | os.PathLike[str], **changes: Any) -> Study:
    """Read and validate a study file; ``changes`` that are not None replace its keys. Raises RecipeError."""
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"no study at {path}: see tune/studies/ for examples") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not a valid YAML file: {str(error).splitlines()[0]}") from None
    if not isinstance(raw, dict):
        raise RecipeError(f"{path} is not a study: expected a mapping with recipe and space, see tune/studies/")
    fixed = changes.pop("set", None)
    raw |= {key: value for key, value in changes.items() if value is not None}
    if fixed and isinstance(raw.get("set") or {}, dict):
        raw["set"] = (raw.get("set") or {}) | fixed
        if isinstance(raw.get("space"), dict):  # settings fixed on the command line are not searched
            raw["space"] = {path: values for path, values in raw["space"].items() if path not in fixed}
    return parse(Study, raw, str(path))


def parsed_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Parse overrides ``a.b=value`` with YAML values, as in `signatlas train --set`. Raises RecipeError."""
    fixed = {}
    for override in overrides:
        key, separator, value = override.partition("=")
        if not key or not separator:
            raise RecipeError(f"--set needs key=value, for instance optimizer.epochs=5, got '{override}'")
        try:
            fixed[key.strip()] = _number(yaml.safe_load(value))
        except yaml.YAMLError:
            raise RecipeError(f"--set {override}: the value is not valid YAML") from None
    return fixed


def hand_set(study: Study) -> tuple[Recipe, Point]:
    """Return the recipe with the study's fixed settings, and its values of the searched ones: trial 0.

    Validates the recipe with every choice and both ends of every range. Raises RecipeError.
    """
    base = with_settings(load(study.recipe), study.set, f"{study.recipe}, set of the study")
    point = {}
    for path, values in study.space.items():
        for value in values.samples():
            with_settings(base, {path: value}, f"{study.recipe}, space of the study, {path} = {encoded(value)}")
        point[path] = _value_at(base.model_dump(mode="json"), path)
        if not values.contains(point[path]):
            raise RecipeError(
                f"space: {path} of the recipe is {encoded(point[path])}, which is not in {values}: "
                f"add it, or fix another value under set"
            )
        if path in ("name", "storage_path"):
            raise RecipeError(f"space: {path} is set by the study for each trial: remove it")
        if path in REFERENCE_ONLY:
            raise RecipeError(f"space: {path} applies to the reference run, which all trials share: move it to set")
    return base, point


def with_settings(recipe: Recipe, settings: Mapping[str, Any], source: str) -> Recipe:
    """Return the recipe with other values at dotted paths, validated again.

    Raises RecipeError, whose message starts with ``source``.
    """
    raw = recipe.model_dump(mode="json")
    for path, value in settings.items():
        *parts, last = path.split(".")
        node = raw
        for part in parts:
            node = _child(node, part, path, source)
        _child(node, last, path, source)
        if isinstance(node, list):
            node[int(last)] = value
        else:
            node[last] = _number(value)
    return parse(type(recipe), raw, source)


def _value_at(raw: Any, path: str) -> Any:
    for part in path.split("."):
        raw = _child(raw, part, path, "recipe")
    return raw


def _child(node: Any, part: str, path: str, source: str) -> Any:
    """Return the value under one part of a dotted path. Raises RecipeError if there is none."""
    if isinstance(node, list) and part.isdigit() and int(part) < len(node):
        return node[int(part)]
    if isinstance(node, dict) and part in node:
        return node[part]
    present = renamed(path)
    matches = difflib.get_close_matches(part, node, n=1) if isinstance(node, dict) else []
    hint = f": it is now '{present}'" if present else f", did you mean '{matches[0]}'?" if matches else ""
    raise RecipeError(f"{source}: unknown setting '{path}'{hint}")


def encoded(value: Any) -> str:
    """Return a value as one line, equal for equal values: strings unchanged, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.12g}"
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)  # YAML values may be dates


def formatted(value: Any) -> str:
    """Return a value as text for a table, numbers with four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else encoded(value)


def _number(value: Any) -> Any:
    """Return text such as 3e-4, which YAML 1.1 reads as a string, as a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def better(value: float, best: float | None, mode: str) -> float:
    """Return the better of a value and the best so far, which may be None."""
    if best is None:
        return value
    return max(value, best) if mode == "max" else min(value, best)
