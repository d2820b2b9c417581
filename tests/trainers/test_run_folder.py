"""Run folders, local and in an object store: claiming, refusing, publishing, clearing."""

from __future__ import annotations

from pathlib import Path

import pytest

from signatlas.errors import RecipeError
from trainers.run_folder import RunFolder


@pytest.fixture(params=["local", "uri"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "store").mkdir()
    return str(tmp_path / "store") if request.param == "local" else f"file://{tmp_path / 'store'}"


def test_the_same_run_resumes_and_another_is_refused(storage: str) -> None:
    folder = RunFolder(storage, "a")
    assert folder.begin("seed: 0\n", "f1") is False
    # Another machine, or the working directory of a job, reads the claim from storage.
    again = RunFolder(storage, "a")
    assert again.begin("seed: 0\n", "f1") is True
    assert again.begin("budget: 3 minutes\nseed: 0\n", "f1") is True, "the budget is not a setting"
    with pytest.raises(RecipeError, match="another recipe"):
        again.begin("seed: 1\n", "f1")
    with pytest.raises(RecipeError, match="another version of the corpus"):
        again.begin("seed: 0\n", "f2")


def test_a_finished_run_is_published(storage: str, tmp_path: Path) -> None:
    folder = RunFolder(storage, "a")
    folder.begin("seed: 0\n", "f1")
    assert folder.results() is None
    (folder.local / "model").mkdir()
    (folder.local / "model" / "model.safetensors").write_bytes(b"weights")
    (folder.local / "results.json").write_text('{"epochs": 3}')
    folder.publish()
    assert (tmp_path / "store" / "a" / "model" / "model.safetensors").read_bytes() == b"weights"
    assert RunFolder(storage, "a").results() == {"epochs": 3}
    RunFolder(storage, "a").clear()
    assert RunFolder(storage, "a").results() is None
    assert not (tmp_path / "store" / "a").exists()


def test_a_folder_that_is_not_a_run_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(RecipeError, match="is not a run"):
        RunFolder(str(tmp_path), "thesis").clear()
    assert (tmp_path / "thesis" / "chapter.tex").exists()


def test_a_run_with_former_keys_is_not_resumed(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path), "a")
    folder.begin("optimiser: {clip: 1.0}\n", "f1")
    with pytest.raises(RecipeError, match=r"earlier version.*--name NEW, or --fresh") as caught:
        RunFolder(str(tmp_path), "a").begin("optimizer: {max_grad_norm: 1.0}\n", "f1")
    assert "\n" not in str(caught.value)
