"""Failure reasons, epochs and reports of a trial."""

from __future__ import annotations

import io
import sys

from ray.tune.integration.ray_train import TuneReportCallback

from signatlas.errors import UserError
from signatlas.recipe import load
from tune.display import redirected_output
from tune.study import better, hand_set, load_study
from tune.trial import _callback, epochs_of, failure_reason


class _Failed(RuntimeError):
    """Like Ray Train's error of failed workers."""

    def __init__(self, failures):
        super().__init__("Training failed due to worker errors:\n[Rank 0 Error Snippet]:\nTraceback ...")
        self.worker_failures = failures


def test_reasons_are_one_line():
    assert failure_reason(UserError("no corpus at\n  nowhere: fetch one")) == "no corpus at nowhere: fetch one"
    assert failure_reason(_Failed({1: UserError("clip 7 is empty")})) == "clip 7 is empty"
    assert failure_reason(_Failed({0: ValueError("Traceback\n  File x\nValueError: not a 4")})) == "ValueError: not a 4"
    assert failure_reason(_Failed({0: MemoryError()})) == "MemoryError"
    assert failure_reason(RuntimeError("it broke")) == "RuntimeError: it broke"
    assert len(failure_reason(UserError("x" * 1000))) == 300


def test_the_epochs_of_a_recipe_are_those_of_its_last_stage(study_file):
    base, _ = hand_set(load_study(study_file()))
    assert epochs_of(base) == 1
    both = load("recipes/scl_slt_phoenix14t.yaml")
    assert epochs_of(both) == both.translation.optimizer.epochs
    assert epochs_of(both.model_copy(update={"translation": None})) == both.alignment.optimizer.epochs


def test_better_follows_the_mode():
    assert better(1.0, None, "min") == 1.0
    assert better(1.0, 2.0, "min") == 1.0 and better(1.0, 2.0, "max") == 2.0


def test_output_of_ray_goes_to_stderr_without_warnings_about_worker_counts(monkeypatch):
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with redirected_output() as output:
        print("(raylet) WARNING: 8 PYTHON worker processes have been started on node: x")
        print("something else")
        print("table", file=output)
    assert (out.getvalue(), err.getvalue()) == ("table\n", "something else\n")


def test_a_checkpoint_without_an_evaluation_is_not_reported(study_file, monkeypatch):
    """Runs keep checkpoints for trajectories between evaluations, with the score of an earlier one."""
    reports = []
    monkeypatch.setattr(TuneReportCallback, "__init__", lambda self: None)  # it needs a running trial
    monkeypatch.setattr(TuneReportCallback, "after_report", lambda self, context, metrics, _: reports.extend(metrics))
    callback = _callback(load_study(study_file(metric="dev_R@1")))
    callback.after_report(None, [{"epoch": 0, "score": -1e30, "evaluated": False}], None)
    callback.after_report(None, [{"epoch": 1, "score": 0.5, "dev_R@1": 0.25, "evaluated": True}], None)
    callback.after_report(None, [{"epoch": 2, "score": 0.5, "evaluated": False}], None)
    assert reports == [{"epochs": 2, "best": 0.25, "value": 0.25}]
