"""Training as a job on a real head: Ray Train workers of the cluster train, results are in its storage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from signatlas.corpus import write_corpus
from signatlas.synthetic.procedural import compose


@pytest.mark.slow  # a cluster, a job and a training
def test_a_submitted_training_writes_its_results_to_the_storage(head: Any, tmp_path: Path) -> None:
    info, clips = compose(signs=6, signers=6, takes=3, seed=0)
    write_corpus(tmp_path / "corpus", info, clips)
    recipe = {
        "name": "as-a-job",
        "storage_path": str(tmp_path / "runs"),
        "data": {"corpus": str(tmp_path / "corpus"), "groups": [{"classes_per_batch": 4}]},
        "model": {"points": "nose_hands", "frames": 8, "width": 16, "depth": 1, "heads": 2, "feedforward": 16},
        "optimizer": {"epochs": 2},
        "checkpoint_selection": {"evaluate_every": 1},
        "scaling": {"workers": 2, "cpus_per_worker": 0.5},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    command = ["submit", "--name", "training", "--wait", "--", "train", str(tmp_path / "recipe.yaml")]
    submitted = head.signatlas(*command, seconds=280)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert "epoch 1 " in submitted.stdout
    results = json.loads((tmp_path / "runs" / "as-a-job" / "results.json").read_text())
    assert results["epochs"] == 2
    assert (tmp_path / "runs" / "as-a-job" / "model" / "model.safetensors").exists()
