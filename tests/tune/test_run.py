"""Studies on a real Ray: trials in Ray Train, a failing one, resuming after a kill, no placement group left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from signatlas.errors import UserError
from signatlas.recipe import load
from tune import record
from tune.run import run
from tune.study import load_study

ROOT = Path(__file__).parents[2]
TUNE = [sys.executable, "-m", "cli", "tune"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_a_study_trains_its_trials_although_one_fails(study_file, ray_session, capsys):
    path = study_file(
        space={"data.languages": {"choice": [["de"], ["en"], ["xx"]]}}, concurrent=2,
        set={"optimizer.weight_decay": 0.02}, searcher={"name": "grid"}, scheduler={"name": "none"},
    )  # fmt: skip
    study = load_study(path)
    results = run(study)
    trials = record.read(Path(results["folder"]))
    assert [trial.hand_set for trial in trials] == [True, False, False]
    for trial in trials:
        unknown = trial.settings["data.languages"] == ["xx"]
        assert trial.status == ("failed" if unknown else "finished"), trial
        assert len(trial.values) == (0 if unknown else 1)
        assert ("xx" in trial.reason) == unknown and "\n" not in trial.reason
    best = max(value for trial in trials for value in trial.values.values())
    assert results["best"]["best"] == best and results["best"]["status"] == "finished"
    recipe = load(results["best_recipe"])
    assert recipe.name == "small_best" and recipe.optimizer.weight_decay == 0.02
    run_folder = Path(results["folder"]) / "trials" / results["best"]["id"]
    assert json.loads((run_folder / "results.json").read_text())["best"]["score"] == best
    output = capsys.readouterr().out
    assert "trial 0 of 3  finished  epoch 1" in output and "failed" in output
    assert "already finished" in run(study, quiet=True)["note"]
    with pytest.raises(UserError, match="other settings: pass --name NEW, or --fresh"):
        run(load_study(path, trials=9), quiet=True)


def test_a_mistake_is_reported_in_one_line_before_anything_starts(study_file, tmp_path):
    command = [*TUNE, str(study_file()), "--set", "data.corpus=nowhere"]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert failed.returncode == 2
    assert "no corpus at nowhere" in failed.stderr and len(failed.stderr.strip().splitlines()) == 1, failed.stderr
    assert not (tmp_path / "tune" / "small").exists()


@pytest.mark.slow
def test_a_killed_study_resumes_and_keeps_its_results(study_file, tmp_path):
    space = {"optimizer.lr": {"choice": [3e-3, 1e-3]}}
    study = study_file(space=space, set={"optimizer.epochs": 2}, searcher={"name": "random"},
                       scheduler={"name": "none"}, trials=2, concurrent=1)  # fmt: skip
    folder = tmp_path / "tune" / "small"
    process = subprocess.Popen([*TUNE, str(study)], cwd=ROOT, env=ENVIRONMENT, start_new_session=True)
    deadline = time.monotonic() + 300
    while len(trials := record.read(folder)) < 2 or not trials[1].values:
        assert process.poll() is None and time.monotonic() < deadline, trials
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = record.read(folder)
    first_results = folder / "trials" / before[0].id / "results.json"
    modified = first_results.stat().st_mtime
    again = subprocess.run([*TUNE, str(study), "--json"], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True,
                           timeout=400)  # fmt: skip
    assert again.returncode == 0, again.stderr
    after = record.read(folder)
    assert json.loads(again.stdout)["trials"] == json.loads((folder / "results.json").read_text())["trials"]
    assert [trial.status for trial in after] == ["finished"] * 2
    assert [sorted(trial.values) for trial in after] == [[1, 2]] * 2
    assert [trial.id for trial in after] == [trial.id for trial in before], "both trials are resumed"
    assert after[0] == before[0] and first_results.stat().st_mtime == modified, "a finished trial is not trained again"
    assert after[1].values.items() >= before[1].values.items()


PLACEMENT_GROUPS_AFTER_A_STUDY = """
import json, sys, time
import ray
from ray.util import placement_group_table
from tune.run import run
from tune.study import load_study

ray.init(num_cpus=2, include_dashboard=True, log_to_driver=False)
results = run(load_study(sys.argv[1]), quiet=True)
deadline = time.monotonic() + 30
while remaining := [g["state"] for g in placement_group_table().values() if g["state"] != "REMOVED"]:
    if time.monotonic() > deadline:
        break
    time.sleep(0.5)
free = ray.available_resources().get("CPU")
state = {"remaining": remaining, "free": free, "created": len(placement_group_table()), "trials": results["trials"]}
open(sys.argv[2], "w").write(json.dumps(state))
"""


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.usefixtures("ray_session")  # a second Ray on the machine must not confuse the cleaner
def test_stopped_trials_leave_no_placement_groups(study_file, tmp_path):
    study = study_file(
        # Only the hand-set learning rate learns, so ASHA stops trials that report after it.
        space={"optimizer.lr": {"choice": [3e-3, 1e-9, 2e-9, 3e-9]}}, set={"optimizer.epochs": 3},
        searcher={"name": "grid"}, scheduler={"name": "asha", "grace": 1, "reduction": 4},
    )  # fmt: skip
    out = tmp_path / "state.json"
    command = [sys.executable, "-c", PLACEMENT_GROUPS_AFTER_A_STUDY, str(study), str(out)]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    state = json.loads(out.read_text())
    statuses = [trial["status"] for trial in state["trials"]]
    assert len(statuses) == 4 and statuses[0] == "finished", "more trials than the three that fit"
    assert "stopped" in statuses and set(statuses) <= {"finished", "stopped"}
    assert (state["remaining"], state["free"]) == ([], 2.0)
    assert state["created"] >= 8, "each trial has one of Tune and one of Train"


@pytest.mark.slow
@pytest.mark.fault
def test_a_metric_that_is_never_reported_ends_the_study(study_file, ray_session):
    with pytest.raises(UserError, match="no trial reports 'scoer'; evaluations report") as error:
        run(load_study(study_file(metric="scoer", trials=4, concurrent=1)), quiet=True)
    assert "score" in str(error.value).split("evaluations report")[1] and "\n" not in str(error.value)
