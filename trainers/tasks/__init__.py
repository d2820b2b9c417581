"""The registry of training tasks: one folder a task, whose package defines ``SPEC``.

A new task needs a recipe class, listed in :data:`signatlas.recipe.RECIPES`, and a folder here with the task's name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signatlas.recipe import Recipe, RunRecipe
from trainers.loop import Task

Results = dict[str, Any]  # what `trainers.fit.fit` returns


@dataclass(frozen=True, kw_only=True)
class Stages:
    """How a recipe is split into several training runs."""

    recipe: type[RunRecipe]  # of one run
    runs: Callable[[Any], dict[str, Any]]  # recipe -> recipes of its runs by name, in order
    check: Callable[[Any, Any], None]  # (recipe, task of the first run): raises UserError before anything is trained
    connect: Callable[[Any, Any, Mapping[str, Results], bool], Any]
    """(recipe, run, results of the earlier runs, quiet) -> the run, completed with what the earlier ones produced."""
    describe: Callable[[str, Any], str]  # (name, run) -> one line for the console


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """What :mod:`trainers.fit` needs to know of a task."""

    name: str
    recipe: type[Recipe]  # what a user writes
    build: Callable[[Any], Task]  # recipe of one run -> task; raises UserError for data that cannot train it
    prepare: Callable[[Any, Path, bool], Any] | None = None
    """(recipe, run folder, quiet) -> completed recipe; runs once, on the driver, before the workers start."""
    keep_every: Callable[[Any], int | None] = lambda run: None  # epochs between checkpoints that are all kept
    stages: Stages | None = None  # None: the recipe is one run

    def runs(self, recipe: Recipe) -> dict[str, Any]:
        """Return the recipes of the training runs by name, in order."""
        return {self.name: recipe} if self.stages is None else self.stages.runs(recipe)

    @property
    def run_recipe(self) -> type[Recipe]:
        """The recipe class of one training run."""
        return self.recipe if self.stages is None else self.stages.recipe


def task_spec(name: str) -> TaskSpec:
    """Return the specification of a task by the ``task`` of its recipe."""
    spec: TaskSpec = importlib.import_module(f"trainers.tasks.{name}").SPEC
    return spec
