"""A study: which settings of a recipe are searched, over what values, how many trials, and what ends one early."""

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

Point = dict[str, Any]  # a value for each path of a study's space
REFERENCE_ONLY = ("selection.epochs", "selection.every")
KINDS = ("choice", "uniform", "loguniform", "randint", "lograndint")


class Values(Strict):
    """What one setting may be: exactly one of these. Both ends of a range belong to it."""

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
                raise ValueError("choice names a value twice")
            return self
        low, high = self.ends
        if not low < high or not math.isfinite(high - low):
            raise ValueError(f"{self.kind} wants [low, high] with low < high, got [{low:g}, {high:g}]")
        if self.kind.startswith("log") and low <= 0:
            raise ValueError(f"{self.kind} wants a low end above 0, got {low:g}")
        return self

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def ends(self) -> tuple[float, float]:
        """Of a range."""
        low, high = getattr(self, self.kind)
        return low, high

    def contains(self, value: Any) -> bool:
        if self.choice is not None:
            return encoded(value) in [encoded(known) for known in self.choice]
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        whole = self.kind in ("uniform", "loguniform") or value == round(value)
        return whole and self.ends[0] <= value <= self.ends[1]

    def samples(self) -> list[Any]:
        """Values enough to see whether a recipe takes them: all of a choice, both ends of a range."""
        return list(self.choice) if self.choice is not None else list(getattr(self, self.kind))

    def __str__(self) -> str:
        return f"{self.kind} {json.dumps(getattr(self, self.kind), ensure_ascii=False)}"


class SearcherConfig(Strict):
    """Who proposes settings: Optuna's tree-structured Parzen estimator, chance, or every combination of choices."""

    name: Literal["optuna", "random", "grid"] = "optuna"
    seed: int = Field(0, ge=0)
    startup: int = Field(10, ge=1, description="trials drawn by chance before Optuna's estimator begins")


class SchedulerConfig(Strict):
    """What ends a trial early: asha stops what is not among the best 1/reduction at epochs grace, grace*reduction..."""

    name: Literal["asha", "none"] = "asha"
    grace: int = Field(1, ge=1, description="epochs that every trial gets")
    reduction: float = Field(3, gt=1)


class Study(Strict):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    budget: str = Field("", description="what it costs, measured")
    recipe: str = Field(description="path of the hand-set recipe, from where the command is given")
    set: dict[str, Any] = Field({}, description="fixed overrides, setting: value")
    space: dict[str, Values] = Field(min_length=1)
    metric: str = Field("score", description="one that evaluations on dev report")
    mode: Literal["max", "min"] = "max"
    trials: int = Field(10, ge=1, description="with the hand-set recipe, which is trial 0; a grid has its own number")
    searcher: SearcherConfig = SearcherConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    concurrent: int | None = Field(None, ge=1, description="trials at a time; as many as the cluster holds by default")
    storage_path: str = "runs/tune"

    @field_validator("space", mode="before")
    @classmethod
    def _each_is_a_block(cls, space: Any) -> Any:
        for path, values in space.items() if isinstance(space, dict) else ():
            if not isinstance(values, dict):
                raise ValueError(f"{path} wants one of {', '.join(KINDS)}, for instance {{choice: [a, b]}}")
        return space

    @model_validator(mode="after")
    def _possible(self) -> Study:
        if both := sorted({*self.set} & {*self.space}):
            raise ValueError(f"'{both[0]}' is in set and in space: leave it out of one")
        ranges = [path for path, values in self.space.items() if values.choice is None]
        if self.searcher.name == "grid" and ranges:
            raise ValueError(f"a grid wants choices, '{ranges[0]}' is a range: list values, or take optuna or random")
        return self


def load_study(path: str | os.PathLike[str], **changes: Any) -> Study:
    """Read and check a study; ``changes`` that are not None replace its keys. Raises RecipeError."""
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"no study at {path}; the tune/studies/ folder has them") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not a YAML file: {str(error).splitlines()[0]}") from None
    if not isinstance(raw, dict):
        raise RecipeError(f"{path} holds no study")
    fixed = changes.pop("set", None)
    raw |= {key: value for key, value in changes.items() if value is not None}
    if fixed and isinstance(raw.get("set") or {}, dict):
        raw["set"] = (raw.get("set") or {}) | fixed
        if isinstance(raw.get("space"), dict):  # what is fixed on the command line is not searched
            raw["space"] = {path: values for path, values in raw["space"].items() if path not in fixed}
    return parse(Study, raw, str(path))


def parsed_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """``a.b=value`` with YAML values, as `signatlas train --set` takes them. Raises RecipeError."""
    fixed = {}
    for override in overrides:
        key, separator, value = override.partition("=")
        if not key or not separator:
            raise RecipeError(f"--set wants key=value, for instance optimizer.epochs=5, got '{override}'")
        try:
            fixed[key.strip()] = _number(yaml.safe_load(value))
        except yaml.YAMLError:
            raise RecipeError(f"--set {override}: the value is not YAML") from None
    return fixed


def hand_set(study: Study) -> tuple[Recipe, Point]:
    """The recipe with the study's fixed settings, and what it says for each searched one: trial 0.

    Every choice and both ends of every range are tried on the recipe first. Raises RecipeError.
    """
    base = with_settings(load(study.recipe), study.set, f"{study.recipe}, set of the study")
    point = {}
    for path, values in study.space.items():
        for value in values.samples():
            with_settings(base, {path: value}, f"{study.recipe}, space of the study, {path} = {encoded(value)}")
        point[path] = _value_at(base.model_dump(mode="json"), path)
        if not values.contains(point[path]):
            raise RecipeError(
                f"space: the recipe's own {path} is {encoded(point[path])}, which is not in {values}: "
                f"add it, or give another under set"
            )
        if path in ("name", "storage_path"):
            raise RecipeError(f"space: {path} is the study's to choose for each trial")
        if path in REFERENCE_ONLY:
            raise RecipeError(f"space: {path} shapes the reference run, which all trials share: give it under set")
    return base, point


def with_settings(recipe: Recipe, settings: Mapping[str, Any], where: str) -> Recipe:
    """The recipe with other values at dotted paths, checked again. Raises RecipeError."""
    raw = recipe.model_dump(mode="json")
    for path, value in settings.items():
        *parts, last = path.split(".")
        place = raw
        for part in parts:
            place = _step(place, part, path, where)
        _step(place, last, path, where)
        if isinstance(place, list):
            place[int(last)] = value
        else:
            place[last] = _number(value)
    return parse(type(recipe), raw, where)


def _value_at(raw: Any, path: str) -> Any:
    for part in path.split("."):
        raw = _step(raw, part, path, "recipe")
    return raw


def _step(place: Any, part: str, path: str, where: str) -> Any:
    """What lies under one part of a dotted path. Raises RecipeError where there is no such setting."""
    if isinstance(place, list) and part.isdigit() and int(part) < len(place):
        return place[int(part)]
    if isinstance(place, dict) and part in place:
        return place[part]
    near = difflib.get_close_matches(part, place, n=1) if isinstance(place, dict) else []
    hint = f", did you mean '{near[0]}'?" if near else ""
    raise RecipeError(f"{where}: there is no setting '{path}'{hint}")


def encoded(value: Any) -> str:
    """One line for a value, the same for equal values: text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.12g}"
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)  # YAML knows dates


def shown(value: Any) -> str:
    """A value for a table, numbers cut to four figures."""
    return f"{value:.4g}" if isinstance(value, float) else encoded(value)


def _number(value: Any) -> Any:
    """YAML 1.1 reads 3e-4 as text; a recipe means the number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
