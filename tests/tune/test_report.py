"""Results of a study: records, table, Markdown, HTML, plots, the best recipe."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from signatlas.errors import UserError
from signatlas.recipe import load
from trainers.run_folder import RunFolder
from tune import record, report
from tune.display import Display
from tune.record import Trial, ranked
from tune.study import hand_set, load_study

SETTINGS = [{"optimizer.lr": 3e-3, "loss.batch_size": 8}, {"optimizer.lr": 0.02, "loss.batch_size": 4}]


@pytest.fixture
def study(study_file):
    return load_study(study_file(budget="a minute"))


@pytest.fixture
def trials():
    return [
        Trial("a", 0, SETTINGS[0], True, "finished", values={1: 0.2, 2: 0.4, 3: 0.3}, seconds=30.0),
        Trial("b", 1, SETTINGS[1], False, "stopped", values={1: 0.1}, seconds=9.0),
        Trial("c", 2, SETTINGS[1], False, "failed", "no corpus at <x> | y", seconds=2.0),
        Trial("d", 3, SETTINGS[1], False, "finished", values={1: 0.5, 2: 0.5, 3: float("nan")}, seconds=31.0),
    ]


def test_records_are_read_as_they_were_written(trials, tmp_path):
    assert record.read(tmp_path) == []
    record.write(tmp_path, trials[2::-1])
    assert record.read(tmp_path) == trials[:3]


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("Failure # 1 (at noon)\nray::train()\n  x\ntune.trial.TrialFailed: no corpus: y\n", "no corpus: y"),
        ("Failure # 1 (at noon)\na\nFailure # 2 (at one)\nThe actor died: out of memory.\nmore\n",
         "The actor died: out of memory."),
        ("", "ended without an error message"),
    ],
)  # fmt: skip
def test_reasons_of_failed_trials_are_the_messages_of_their_drivers(tmp_path, log, reason):
    path = tmp_path / "error.txt"
    path.write_text(log)
    assert record._failure_reason(SimpleNamespace(error_file=str(path))) == reason


def test_ranks(trials):
    assert [trial.number for trial in ranked(trials, "max")] == [3, 0, 1, 2]
    assert [trial.number for trial in ranked(trials, "min")] == [1, 0, 3, 2]
    assert trials[3].best("max") == (0.5, 1), "the first epoch with the best value; NaN does not count"
    assert trials[0].best("min") == (0.2, 1)


def test_a_study_writes_table_reports_plots_and_the_best_recipe(study, trials, tmp_path):
    base, _ = hand_set(study)
    folder = RunFolder(str(tmp_path), "small")
    results = report.write(study, base, trials, folder)
    assert results["best"]["trial"] == 3 and results["best"]["settings"] == SETTINGS[1]
    table = pq.read_table(folder.local / "results.parquet").to_pylist()
    assert [row["status"] for row in table] == ["finished", "stopped", "failed", "finished"]
    assert (table[0]["optimizer.lr"], table[0]["best"], table[0]["best_epoch"]) == (3e-3, 0.4, 2)
    assert table[2]["best"] is None and table[2]["reason"].startswith("no corpus")
    assert table[0]["values"] == [(1, 0.2), (2, 0.4), (3, 0.3)]
    best = load(folder.local / "best_recipe.yaml")
    assert (best.name, best.optimizer.lr, best.loss.batch_size) == ("small_best", 0.02, 4)
    assert best.data == base.data
    text = (folder.local / "report.md").read_text()
    assert "the hand-set recipe 0.4000" in text and "budget: a minute" in text
    assert r"failed: no corpus at <x> \| y" in text and "signatlas train" in text
    page = (folder.local / "report.html").read_text()
    assert "no corpus at &lt;x&gt;" in page and page.count("data:image/png;base64,") == 2
    assert not re.search(r"(?:src|href)=\"(?!data:)", page), "the page is self-contained"
    for plot in ("curves.png", "settings.png"):
        assert (folder.local / plot).read_bytes().startswith(b"\x89PNG")


def test_a_study_whose_trials_all_fail_reports_the_first_reason(study, trials, tmp_path):
    base, _ = hand_set(study)
    folder = RunFolder(str(tmp_path), "small")
    with pytest.raises(UserError, match=r"no trial reached an evaluation; the first failure: no corpus at"):
        report.write(study, base, trials[2:3], folder)
    assert "no corpus" in (folder.local / "report.md").read_text()
    assert not (folder.local / "results.json").exists(), "the study is not finished"


def test_output_without_a_terminal_has_one_line_per_event(study, trials):
    output = io.StringIO()
    with Display(study, 4, output) as display:
        display.update(trials, trials[0])
        display.update(trials, trials[0])
        display.update(trials, trials[2])
    first, second = output.getvalue().splitlines()
    assert first == "trial 0 of 4  finished  epoch 3  score 0.3  best 0.4  optimizer.lr 0.003  loss.batch_size 8"
    assert second.endswith("(no corpus at <x> | y)")
