"""One trial: a Ray Train run inside a Ray Tune function, which reports every evaluation."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from signatlas.errors import UserError
from signatlas.recipe import RECIPES, Recipe, parse
from tune.search import settings_of
from tune.study import METRIC, TIME, Study, better, with_settings


class TrialFailed(Exception):
    """A failed trial; the message is the reason in one line."""


def driver(study: Study, base: Recipe, runs: str) -> Callable[[dict[str, Any]], None]:
    """Return the function that Tune calls for each trial. ``runs`` is the folder or URI for the runs of trials.

    The run of a trial is named after the trial's id, so that an interrupted trial resumes from its last checkpoint.
    """
    task, recipe_settings, study_settings = base.task, base.model_dump(mode="json"), study.model_dump(mode="json")
    working_folder = os.getcwd()

    def trial(config: dict[str, Any]) -> None:
        from ray import tune

        from cluster.ray_internals import name_cluster_for_train_cleaner
        from trainers.fit import fit

        if os.path.isdir(working_folder):
            os.chdir(working_folder)  # the recipe may have relative paths
        name_cluster_for_train_cleaner()
        study = parse(Study, study_settings, "study")
        try:
            base = parse(RECIPES[task], recipe_settings, "recipe")
            name = tune.get_context().get_trial_id()
            recipe = with_settings(base, settings_of(config, study), "recipe")
            recipe = recipe.model_copy(update={"name": name, "storage_path": runs})
            results = fit(recipe, quiet=True, callbacks=[_callback(study)])
        except Exception as error:
            raise TrialFailed(failure_reason(error)) from error
        tune.report(_final_report(results, study, recipe))

    return trial


def epochs_of(recipe: Recipe) -> int:
    """Return the epochs of the run whose evaluations count: the last one of a recipe of several."""
    from trainers.tasks import task_spec

    *_, last = task_spec(recipe.task).runs(recipe).values()
    return int(last.optimizer.epochs)


def failure_reason(error: BaseException) -> str:
    """Return the reason of a failed run in one line of at most 300 characters."""
    failures = list(getattr(error, "worker_failures", {}).values())
    for inner in (error, *failures):
        if isinstance(inner, UserError):
            return " ".join(str(inner).split())[:300]
    text = str(failures[0] if failures else error).strip()
    last = text.splitlines()[-1].strip() if text else ""
    kind = type(failures[0] if failures else error).__name__
    return (last if ": " in last else f"{kind}: {last}" if last else kind)[:300]


def _callback(study: Study) -> Any:
    from ray.tune.integration.ray_train import TuneReportCallback

    class Report(TuneReportCallback):
        """Reports every evaluation to Tune: the metric, its best value so far, the completed epochs."""

        def __init__(self) -> None:
            super().__init__()
            self.best: float | None = None

        def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
            row = metrics[0]
            if not row.get("evaluated", True):
                return  # a checkpoint without an evaluation
            report: dict[str, Any] = {TIME: int(row["epoch"]) + 1}
            if study.metric in row:
                value = float(row[study.metric])
                self.best = better(value, self.best, study.mode)
                report |= {METRIC: self.best, "value": value}
            else:
                report["reported"] = sorted(key for key in row if key != "epoch")
            super().after_report(run_context, [report], None)

    return Report()


def _final_report(results: dict[str, Any], study: Study, recipe: Recipe) -> dict[str, Any]:
    """Return the last report: all evaluations, including those of interrupted processes."""
    last = list(results.get("stages", {"only": results}).values())[-1]
    history = Path(last["model"]).parent / "history.jsonl"
    rows = [results["best"], results["last"]]
    if history.is_file():
        rows = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    evaluated = [[row["epoch"] + 1, row[study.metric]] for row in rows if study.metric in row]
    values = [value for _, value in evaluated]
    best = max(values) if study.mode == "max" else min(values)
    return {TIME: epochs_of(recipe), METRIC: best, "evaluated": evaluated, "finished": True}
