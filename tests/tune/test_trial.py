"""What a trial says when it fails, and what counts as its epochs."""

from __future__ import annotations

import io
import sys

from signatlas.errors import UserError
from signatlas.recipe import load
from tune.output import calm_output
from tune.study import hand_set, load_study
from tune.trial import better, epochs_of, reason


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
    assert epochs_of(both) == both.translation.optimiser.epochs
    assert epochs_of(both.model_copy(update={"translation": None})) == both.alignment.optimiser.epochs


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
