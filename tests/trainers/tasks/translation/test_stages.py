"""All stages of a translation recipe in one command: results, resuming, sharing a reference run."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from signatlas.models.translator.translator import Translator
from signatlas.recipe import load
from tests.trainers.tasks.translation.translation_data import translation_settings

pytestmark = pytest.mark.slow  # each run of the command trains three stages

ROOT = Path(__file__).parents[4]
TRAIN = [sys.executable, "-m", "cli", "train"]


def train(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*TRAIN, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=500)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages")
    settings = copy.deepcopy(translation_settings(folder))
    settings["alignment"]["contrast"] = "selective"
    # Evaluated every epoch, kept every second one.
    settings["negative_selection"] = {"reference_epochs": 4, "keep_every": 2}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture(scope="module")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    storage = tmp_path_factory.mktemp("whole")
    done = train(recipe, "--storage-path", storage)
    assert done.returncode == 0, done.stdout + done.stderr
    return storage / "tiny_translation", done.stdout


def test_one_command_trains_reference_alignment_and_translation(whole):
    folder, output = whole
    assert [line for line in output.splitlines() if line.startswith("stage ")] == [
        "stage 1 of 3: reference model: contrast of random batches and translation, 4 epochs, batches of 8",
        "stage 2 of 3: contrast of selected batches and translation, 2 epochs, batches of 8",
        "stage 3 of 3: translation only, 2 epochs, batches of 8",
    ]
    results = json.loads((folder / "results.json").read_text())
    assert list(results["stages"]) == ["reference", "alignment", "translation"]
    assert sorted(p.name for p in (folder / "reference" / "kept_checkpoints").iterdir()) == ["epoch_0002", "epoch_0004"]
    assert (folder / "reference" / "trajectories" / "trajectories.json").exists()
    first, last = (Translator.from_pretrained(folder / name / "model") for name in ("alignment", "translation"))
    assert first.text_encoder is not None
    assert last.text_encoder is None
    assert torch.equal(first.log_scale, last.log_scale), "a stage without contrast keeps the scale"
    assert "alignment and translation" in (folder / "alignment" / "model" / "README.md").read_text()
    same = [(folder / name / "model.safetensors").read_bytes() for name in ("model", "translation/model")]
    assert same[0] == same[1], "the model of the last stage is that of the recipe"


def test_a_finished_recipe_is_not_trained_again(whole, recipe):
    again = train(recipe, "--storage-path", whole[0].parent)
    assert again.returncode == 0
    assert "had finished" in again.stdout


@pytest.mark.fault
def test_a_recipe_uses_the_reference_run_of_another(whole, recipe, tmp_path):
    """Another schedule over the same trajectories, without stage 2: one run; the reference folder does not change."""
    before = sorted(p.stat().st_mtime_ns for p in (whole[0] / "reference").rglob("*") if p.is_file())
    reference = f"negative_selection.reference={whole[0] / 'reference'}"
    arm = [
        "--set",
        reference,
        "--set",
        "negative_selection.schedule=hard",
        "--set",
        "translation=null",
        "--name",
        "hard",
    ]
    done = train(recipe, "--storage-path", tmp_path, *arm)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stage 1 of 1" in done.stdout
    assert list(json.loads((tmp_path / "hard" / "results.json").read_text())["stages"]) == ["alignment"]
    shown = subprocess.run(
        [sys.executable, "-m", "cli", "trajectories", str(tmp_path / "hard"), "--json", "--out",
         str(tmp_path / "t.png")], cwd=ROOT, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert before == sorted(p.stat().st_mtime_ns for p in (whole[0] / "reference").rglob("*") if p.is_file())


@pytest.mark.fault
@pytest.mark.parametrize("at", ["reference/checkpoint_2*", "translation/checkpoint_2*"])
def test_a_killed_run_resumes_in_its_stage(whole, recipe, tmp_path, at):
    """After the driver and all it started are killed, the same command ends with the same metrics."""
    command = [*TRAIN, str(recipe), "--storage-path", str(tmp_path)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    folder, deadline = tmp_path / "tiny_translation", time.monotonic() + 300
    while not list(folder.glob(at)):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint in time"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "results.json").exists()
    again = train(recipe, "--storage-path", tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    results, expected = (json.loads((f / "results.json").read_text()) for f in (folder, whole[0]))
    for kind in ("best", "last"):
        speed = {"steps_per_second"}
        assert {k: v for k, v in results[kind].items() if k not in speed} == {
            k: v for k, v in expected[kind].items() if k not in speed
        }


def test_the_recipe_in_the_run_folder_loads(whole):
    recipe = load(whole[0] / "recipe.yaml")
    assert recipe.task == "translation"
    assert recipe.negative_selection.schedule == "log"
