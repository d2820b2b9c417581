"""What a trial says when it fails, and what counts as its epochs."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

from signatlas.errors import UserError
from signatlas.recipe import load
from tune.output import calm_output
from tune.study import hand_set, load_study
from tune.trial import _callback, better, epochs_of, reason


class _Failed(RuntimeError):
    """As Ray Train's error of workers that failed."""

    def __init__(self, failures):
        super().__init__("Training failed due to worker errors:\n[Rank 0 Error Snippet]:\nTraceback ...")
        self.worker_failures = failures


def test_reasons_are_one_line():
    assert reason(UserError("no corpus at\n  nowhere: fetch one")) == "no corpus at nowhere: fetch one"
    assert reason(_Failed({1: UserError("clip 7 is empty")})) == "clip 7 is empty"
    assert reason(_Failed({0: ValueError("Traceback\n  File x\nValueError: 3 is no 4")})) == "ValueError: 3 is no 4"
    assert reason(_Failed({0: MemoryError()})) == "MemoryError"
    assert reason(RuntimeError("it broke")) == "RuntimeError: it broke"
    assert len(reason(UserError("x" * 1000))) == 300


def test_the_epochs_of_a_recipe_are_those_of_the_stage_whose_figures_count(study_file):
    base, _ = hand_set(load_study(study_file()))
    assert epochs_of(base) == 1
    both = load("recipes/scl_slt_phoenix14t.yaml")
    assert epochs_of(both) == both.translation.optimizer.epochs
    assert epochs_of(both.model_copy(update={"translation": None})) == both.alignment.optimizer.epochs


def test_better():
    assert better(1.0, None, "min") == 1.0
    assert better(1.0, 2.0, "min") == 1.0 and better(1.0, 2.0, "max") == 2.0


def test_ray_talks_to_the_error_output_and_counts_no_processes(monkeypatch):
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with calm_output() as output:
        print("(raylet) WARNING: 8 PYTHON worker processes have been started on node: x")
        print("something else")
        print("mine", file=output)
    assert (out.getvalue(), err.getvalue()) == ("mine\n", "something else\n")


def test_a_checkpoint_that_is_only_kept_is_no_evaluation(study_file, monkeypatch):
    """Between evaluations a run keeps models for trajectories, with a score that is not theirs."""
    told = []
    monkeypatch.setattr("ray.tune.integration.ray_train._in_tune_session", lambda: True)
    session = SimpleNamespace(_get_or_create_inter_actor_queue=lambda: SimpleNamespace(put=told.append))
    monkeypatch.setattr("ray.tune.integration.ray_train.get_session", lambda: session)
    report = _callback(load_study(study_file(metric="dev_R@1")))
    report.after_report(None, [{"epoch": 0, "score": -1e30, "evaluated": False}], None)
    report.after_report(None, [{"epoch": 1, "score": 0.5, "dev_R@1": 0.25, "evaluated": True}], None)
    report.after_report(None, [{"epoch": 2, "score": 0.5, "evaluated": False}], None)
    assert told == [{"epochs": 2, "best": 0.25, "value": 0.25}]
