"""A recipe that trains in seconds, and a study of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.trainers.sentence_data import small_settings, write_sentences


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    settings = small_settings(*write_sentences(folder), folder / "runs")
    settings["optimizer"]["epochs"] = 1
    settings["checkpoint_selection"]["evaluate_every"] = 1
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture
def study_file(tiny_recipe: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a study of the tiny recipe; keywords replace keys, None removes one."""

    def write(**changes: Any) -> Path:
        study: dict[str, Any] = {
            "name": "small",
            "recipe": str(tiny_recipe),
            "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}, "loss.batch_size": {"choice": [4, 8]}},
            "trials": 3,
            "storage_path": str(tmp_path / "tune"),
        }
        study = copy.deepcopy(study) | changes
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in study.items() if value is not None}))
        return path

    return write
