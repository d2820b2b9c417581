"""A small procedural corpus and a recipe on it that trains in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from signatlas.corpus import write_corpus
from signatlas.synthetic.procedural import compose


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora") / "procedural"
    info, clips = compose(signs=6, signers=6, takes=3, seed=0)
    write_corpus(folder, info, clips)
    return folder


@pytest.fixture(scope="session")
def small_recipe(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe: dict[str, Any] = {
        "name": "small",
        "storage_path": str(tmp_path_factory.mktemp("runs")),
        "data": {"corpus": str(small_corpus), "groups": [{"classes_per_batch": 4, "samples_per_class": 3}]},
        "model": {"points": "nose_hands", "dims": 2, "frames": 12, "width": 32, "depth": 1, "heads": 2,
                  "feedforward": 32, "embedding": 16, "dropout": 0.1},
        "optimizer": {"epochs": 4, "lr": 2e-3},
        "checkpoint_selection": {"evaluate_every": 1},
        "scaling": {"workers": 2, "cpus_per_worker": 0.5},
    }  # fmt: skip
    path = tmp_path_factory.mktemp("recipes") / "small.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path
