"""signatlas train on Ray Train and DeepSpeed: results, resuming, errors."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from signatlas.models.sign_encoder import SignEncoder

TRAIN = [sys.executable, "-m", "cli", "train"]
ROOT = Path(__file__).parents[2]


def run(*arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TRAIN, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture(scope="module")
def trained(small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    storage = tmp_path_factory.mktemp("trained")
    done = run(small_recipe, "--storage-path", storage)
    assert done.returncode == 0, done.stdout + done.stderr
    return storage / "small", done.stdout


@pytest.mark.slow
def test_a_run_writes_model_curves_and_results(trained):
    folder, output = trained
    results = json.loads((folder / "results.json").read_text())
    assert results["epochs"] == 4
    assert len((folder / "history.jsonl").read_text().splitlines()) == 4
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert any((folder / "tensorboard").iterdir())
    assert "procedural" in (folder / "model" / "README.md").read_text()
    assert "optimizer:" in (folder / "recipe.yaml").read_text()
    model = SignEncoder.from_pretrained(folder / "model")
    assert model.record["corpus"] == "procedural"
    assert re.search(r"epoch 3 .*loss .*left", output), output
    assert "dev mAP" in output


@pytest.mark.slow
def test_best_and_last_checkpoints_are_kept(trained):
    folder, _ = trained
    results = json.loads((folder / "results.json").read_text())
    checkpoints = len(list(folder.glob("checkpoint_2*")))
    assert checkpoints == (1 if results["best"]["epoch"] == 3 else 2)
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert results["best"]["score"] == max(row["score"] for row in history)


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(trained, small_recipe):
    folder, _ = trained
    again = run(small_recipe, "--storage-path", folder.parent)
    assert again.returncode == 0
    assert "had finished" in again.stdout


@pytest.mark.slow
def test_a_run_with_other_settings_is_not_overwritten(trained, small_recipe):
    folder, _ = trained
    other = run(small_recipe, "--storage-path", folder.parent, "--set", "optimizer.lr=0.5")
    assert other.returncode == 2
    assert "pass --name NEW, or --fresh" in other.stderr
    assert (folder / "results.json").exists()


@pytest.mark.slow
def test_training_classes_name_every_clip_once(trained):
    folder, _ = trained
    classes = json.loads((folder / "model" / "training_classes.json").read_text())
    clips = [clip for c in classes for clip in c["clips"]]
    assert len(clips) == len(set(clips)) > 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.corpus=nowhere", "no corpus at nowhere"),
        ("optimizer.epoch=3", "unknown key 'optimizer.epoch', did you mean 'epochs'?"),
        ("data.groups.0.classes_per_batch=50", "P-K batches need 50 classes, the training clips have 6"),
        ("data.groups.0.source=webcam", "no training clip of source 'webcam'"),
    ],
)
def test_errors_are_one_line_before_ray_starts(small_recipe, tmp_path, change, message):
    started = time.monotonic()
    failed = run(small_recipe, "--storage-path", tmp_path, "--set", change)
    assert failed.returncode == 2
    assert message in failed.stderr
    assert len(failed.stderr.strip().splitlines()) == 1, failed.stderr
    assert time.monotonic() - started < 30
    assert not any(tmp_path.iterdir())


def _start(small_recipe: Path, storage: Path) -> subprocess.Popen[str]:
    command = [*TRAIN, str(small_recipe), "--storage-path", str(storage), "--set", "optimizer.epochs=12"]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def _checkpoints(folder: Path) -> set[str]:
    """Return the checkpoints that a restart finds: Ray Train enters them a moment after their folders are there."""
    file = folder / "checkpoint_manager_snapshot.json"
    return set(re.findall(r'checkpoint_2[^"]+', file.read_text())) if file.exists() else set()


def _wait_for_checkpoints(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    seen: set[str] = set()
    while len(seen) < count:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint in time"
        seen |= _checkpoints(folder)
        time.sleep(0.05)


def _worker_pids(driver: int) -> list[int]:
    """Return the ids of this run's Ray Train workers: descendants of the driver that run a RayTrainWorker."""
    import psutil

    pids = []
    for child in psutil.Process(driver).children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(child.cmdline()):
                pids.append(child.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return pids


@pytest.fixture(scope="module")
def uninterrupted(small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    storage = tmp_path_factory.mktemp("uninterrupted")
    done = run(small_recipe, "--storage-path", storage, "--set", "optimizer.epochs=12")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((storage / "small" / "results.json").read_text())


def _metrics(results: dict) -> dict:
    return {kind: results[kind] for kind in ("best", "last", "epochs")}


@pytest.mark.slow
def test_a_killed_driver_resumes_and_a_killed_worker_is_replaced_with_the_same_metrics(
    uninterrupted, small_recipe, tmp_path
):
    process = _start(small_recipe, tmp_path)
    _wait_for_checkpoints(tmp_path / "small", 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "small" / "results.json").exists()
    again = _start(small_recipe, tmp_path)
    pids: list[int] = []
    while len(pids) < 2:
        assert again.poll() is None, again.communicate()[0]
        time.sleep(0.2)
        pids = _worker_pids(again.pid)
    # Not before the new workers train: those of the killed driver may have written a last checkpoint.
    kept = _checkpoints(tmp_path / "small")
    while _checkpoints(tmp_path / "small") <= kept:
        assert again.poll() is None, again.communicate()[0]
        time.sleep(0.05)
    os.kill(pids[0], signal.SIGKILL)
    output = again.communicate(timeout=300)[0]
    assert again.returncode == 0, output
    assert "resuming from the last checkpoint" in output
    assert "epoch 0 " not in output, "finished epochs are not trained again"
    assert _metrics(json.loads((tmp_path / "small" / "results.json").read_text())) == _metrics(uninterrupted)


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_keeps_checkpoints(small_recipe, tmp_path):
    process = _start(small_recipe, tmp_path)
    _wait_for_checkpoints(tmp_path / "small", 1, process)
    os.kill(process.pid, signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 130, output
    assert "Traceback" not in output, output
    assert "the same command resumes from the last checkpoint" in output
    assert list((tmp_path / "small").glob("checkpoint_2*"))
