"""One trial: a Ray Train run inside a Ray Tune function, named after the trial and reported epoch by epoch."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from signatlas.errors import UserError
from signatlas.recipe import RECIPES, Recipe, parse
from tune.search import METRIC, TIME, settings_of
from tune.study import Study, with_settings


class TrialFailed(Exception):
    """Why a trial ended without a result, in one line."""


def driver(study: Study, base: Recipe, runs: str) -> Callable[[dict[str, Any]], None]:
    """What Tune calls for each trial. ``runs``: folder or URI of the trials' runs.

    A trial that was stopped goes on from its run's last checkpoint, because the run has the trial's id as its name.
    """
    task, raw, searched, home = base.task, base.model_dump(mode="json"), study.model_dump(mode="json"), os.getcwd()

    def trial(config: dict[str, Any]) -> None:
        from ray import tune

        from trainers.fit import fit

        if os.path.isdir(home):
            os.chdir(home)  # relative paths of the recipe mean what they meant to the user
        study = parse(Study, searched, "study")
        try:
            recipe = with_settings(parse(RECIPES[task], raw, "recipe"), settings_of(config, study), "recipe")
            name = tune.get_context().get_trial_id()
            recipe = recipe.model_copy(update={"name": name, "storage_path": runs})
            results = fit(recipe, quiet=True, callbacks=[_callback(study, recipe)])
        except Exception as error:
            raise TrialFailed(reason(error)) from error
        tune.report(_final(results, study, recipe))

    return trial


def stages(recipe: Recipe) -> dict[str, int]:
    """Epochs of each run that the recipe makes and reports, in their order, by the end of the run's name."""
    if recipe.task != "translation":
        return {"": recipe.optimiser.epochs}  # type: ignore[union-attr]
    parts = {"stage1": recipe.alignment, "stage2": recipe.translation}
    return {name: part.optimiser.epochs for name, part in parts.items() if part is not None}


def reason(error: BaseException) -> str:
    """What went wrong, in one line of at most 300 characters."""
    failures = list(getattr(error, "worker_failures", {}).values())
    for inner in (error, *failures):
        if isinstance(inner, UserError):
            return " ".join(str(inner).split())[:300]
    text = str(failures[0] if failures else error).strip()
    last = text.splitlines()[-1].strip() if text else ""
    kind = type(failures[0] if failures else error).__name__
    return (last if ": " in last else f"{kind}: {last}" if last else kind)[:300]


def _callback(study: Study, recipe: Recipe) -> Any:
    from ray.tune.integration.ray_train import TuneReportCallback

    class Report(TuneReportCallback):
        """Tells Tune every evaluation: the metric, the best so far, the epochs done in all stages together."""

        def __init__(self) -> None:
            super().__init__()
            self.best: float | None = None

        def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
            done = _epochs_before(run_context.run_config.name, recipe)
            if done is None:
                return
            row = metrics[0]
            report: dict[str, Any] = {TIME: done + int(row["epoch"]) + 1}
            if study.metric in row:
                value = float(row[study.metric])
                self.best = better(value, self.best, study.mode)
                report |= {METRIC: self.best, "value": value}
            else:
                report["reported"] = sorted(key for key in row if key != "epoch")
            self._training_actor_item_queue.put(report)

    return Report()


def better(value: float, best: float | None, mode: str) -> float:
    if best is None:
        return value
    return max(value, best) if mode == "max" else min(value, best)


def _epochs_before(run: str, recipe: Recipe) -> int | None:
    """Epochs of the stages before that of this run; None for a run that makes something else, such as a reference."""
    done = 0
    for stage, epochs in stages(recipe).items():
        if run.endswith(stage):
            return done
        done += epochs
    return None


def _final(results: dict[str, Any], study: Study, recipe: Recipe) -> dict[str, Any]:
    """The last report: all evaluations of the last stage, also those that an earlier, interrupted process made."""
    history = Path(results["model"]).parent / "history.jsonl"
    rows = [results["best"], results["last"]]
    if history.is_file():
        rows = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    *earlier, _ = stages(recipe).values()
    evaluated = [[sum(earlier) + row["epoch"] + 1, row[study.metric]] for row in rows if study.metric in row]
    values = [value for _, value in evaluated]
    best = max(values) if study.mode == "max" else min(values)
    return {TIME: sum(stages(recipe).values()), METRIC: best, "evaluated": evaluated, "finished": True}
