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

RAY_OF_TRIAL = "RAY_API_SERVER_ADDRESS"  # what Ray's state API asks first


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
        _name_cluster()
        study = parse(Study, searched, "study")
        try:
            recipe = with_settings(parse(RECIPES[task], raw, "recipe"), settings_of(config, study), "recipe")
            name = tune.get_context().get_trial_id()
            recipe = recipe.model_copy(update={"name": name, "storage_path": runs})
            results = fit(recipe, quiet=True, callbacks=[_callback(study)])
        except Exception as error:
            raise TrialFailed(reason(error)) from error
        tune.report(_final(results, study, recipe))

    return trial


def _name_cluster() -> None:
    """Tell Ray Train which Ray this trial is in.

    Its cleaner, which frees the workers of a stopped trial, looks for a Ray on the machine and gives up for good when
    it finds two (Ray 2.60): every trial that ASHA stops would then keep its share for ever. It inherits the variables
    that Ray Train hands to its controller, and there is no public way to add one.
    """
    import ray
    from ray.train.v2._internal import constants

    os.environ[RAY_OF_TRIAL] = ray.get_runtime_context().gcs_address
    constants.ENV_VARS_TO_PROPAGATE.add(RAY_OF_TRIAL)


def epochs_of(recipe: Recipe) -> int:
    """Return the epochs of the run whose evaluations count: the last one of a recipe of several."""
    from trainers.tasks import task_spec

    *_, last = task_spec(recipe.task).runs(recipe).values()
    return int(last.optimizer.epochs)


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


def _callback(study: Study) -> Any:
    from ray.tune.integration.ray_train import TuneReportCallback

    class Report(TuneReportCallback):
        """Tells Tune every evaluation: the metric, the best so far, the epochs done."""

        def __init__(self) -> None:
            super().__init__()
            self.best: float | None = None

        def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
            row = metrics[0]
            if not row.get("evaluated", True):
                return  # a checkpoint that is only kept
            report: dict[str, Any] = {TIME: int(row["epoch"]) + 1}
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


def _final(results: dict[str, Any], study: Study, recipe: Recipe) -> dict[str, Any]:
    """The last report: all evaluations, also those that an earlier, interrupted process made."""
    last = list(results.get("stages", {"only": results}).values())[-1]
    history = Path(last["model"]).parent / "history.jsonl"
    rows = [results["best"], results["last"]]
    if history.is_file():
        rows = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    evaluated = [[row["epoch"] + 1, row[study.metric]] for row in rows if study.metric in row]
    values = [value for _, value in evaluated]
    best = max(values) if study.mode == "max" else min(values)
    return {TIME: epochs_of(recipe), METRIC: best, "evaluated": evaluated, "finished": True}
