"""Tasks sign_classifier and pseudo_label: batches, gradients on two ranks, end-to-end training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from signatlas.corpus.format import Corpus
from signatlas.errors import CorpusError, FeatureError
from signatlas.features import pseudo_labels
from signatlas.models.sign_classifier import SignClassifier
from signatlas.recipe import load
from tests.trainers.gradients import gradients
from trainers.fit import build_task, fit
from trainers.tasks.sign_classifier.task import shuffled

MODEL = {"points": "nose_hands", "dims": 2, "streams": ["position", "shape"], "frames": 16, "width": 16, "depth": 1,
         "heads": 2, "feedforward": 16, "dropout": 0.0}  # fmt: skip


@pytest.fixture(scope="module")
def isolated(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe on the procedural corpus: one group by gloss, one in which each clip is a class."""
    recipe: dict[str, Any] = {
        "name": "isolated",
        "task": "sign_classifier",
        "storage_path": str(tmp_path_factory.mktemp("runs")),
        "data": {"corpus": str(small_corpus), "groups": [{"per_batch": 9}, {"label": "id", "per_batch": 4}]},
        "model": MODEL,
        "optimizer": {"epochs": 2, "lr": 3e-3},
        "checkpoint_selection": {"evaluate_every": 1, "windows": 2},
        "scaling": {"workers": 1, "cpus_per_worker": 0.5},
    }
    path = tmp_path_factory.mktemp("recipes") / "isolated.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def test_batches_are_training_clips_as_a_function_of_seed_and_epoch(isolated: Path) -> None:
    task, other = (build_task(load(isolated)) for _ in range(2))
    for one in (task, other):
        one.begin_epoch(3)
    np.testing.assert_array_equal(task.indices, other.indices)
    assert task.indices.shape == (task.steps_per_epoch, 13)
    assert {task.rows[i]["split"] for i in task.indices.ravel()} == {"train"}
    other.begin_epoch(4)
    assert not np.array_equal(task.indices, other.indices)
    assert set(task.classes) >= {row["gloss"] for row in task.rows}
    assert (task.labels[task.indices] >= 0).all()


def test_shuffled_has_every_item_before_any_repeats() -> None:
    batches = shuffled(10, 4, 5, seed=0, epoch=0, pool=0)
    flat = batches.ravel()
    assert sorted(flat[:10]) == list(range(10)) and sorted(flat[10:]) == list(range(10))
    assert not np.array_equal(batches, shuffled(10, 4, 5, seed=0, epoch=0, pool=1))


@pytest.mark.slow
def test_gradients_do_not_depend_on_the_number_of_ranks(isolated: Path, tmp_path: Path) -> None:
    one, two = (gradients(isolated, ranks, tmp_path / f"{ranks}.pt") for ranks in (1, 2))  # 13 rows: 7 and 6
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    largest = max(float(g.abs().max()) for g in one["gradients"].values())
    assert largest > 1e-3
    for name, gradient in one["gradients"].items():
        assert float((two["gradients"][name] - gradient).abs().max()) < 1e-5 * largest, name


def test_a_source_without_training_clips_is_refused(isolated: Path) -> None:
    with pytest.raises(CorpusError, match="no training clip of source 'nowhere'"):
        build_task(load(isolated, ["data.groups.0.source=nowhere"]))


def write_segments(folder: Path, corpus: Corpus, split: str, classes: tuple[str, ...]) -> str:
    """Write segments of the first and last frames of each clip, as 'signatlas spot' does; return the folder."""
    folder.mkdir(parents=True)
    rows = [row for row in corpus.metadata() if row["split"] == split and row["num_frames"] > 16]
    segments = [pseudo_labels.PseudoLabel(r["id"], classes[i % 5], 0, 17, 0.9) for i, r in enumerate(rows)]
    segments += [pseudo_labels.PseudoLabel(r["id"], classes[(i + 2) % 5], r["num_frames"] - 16, r["num_frames"], 0.8)
                 for i, r in enumerate(rows)]  # fmt: skip
    pseudo_labels.write(folder, segments)
    report = {"corpus_fingerprint": corpus.info.fingerprint, "segments": len(segments), "classes": 5,
              "clips": len(rows), "judged": None}  # fmt: skip
    (folder / "report.json").write_text(json.dumps(report))
    return str(folder)


@pytest.fixture
def continuous(continuous_corpus: Path, small_classifier: Path, tmp_path: Path) -> Path:
    recipe: dict[str, Any] = {
        "name": "continuous",
        "task": "pseudo_label",
        "storage_path": str(tmp_path / "runs"),
        "data": {"corpus": str(continuous_corpus), "model": str(small_classifier)},
        "spot": {"threshold": 0.4, "suppress": 8},
        "batch_size": 7,
        "optimizer": {"name": "sgd", "lr": 0.05, "epochs": 2},
        "checkpoint_selection": {"evaluate_every": 1},
        "scaling": {"cpus_per_worker": 0.5},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path / "r.yaml"


def test_fine_tuning_lowers_the_loss(
    continuous: Path, continuous_corpus: Path, small_classifier: Path, tmp_path: Path
) -> None:
    corpus, classes = Corpus.open(continuous_corpus), SignClassifier.from_pretrained(small_classifier).classes
    segments = {f"data.{field}={write_segments(tmp_path / field, corpus, split, classes)}"
                for field, split in (("segments", "train"), ("dev_segments", "dev"))}  # fmt: skip
    task = build_task(load(continuous, sorted(segments)))
    assert task.batch_size == 7 and task.steps_per_epoch == -(-len(task.labels) // 7)
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for epoch in range(25):
        task.begin_epoch(epoch)
        for step in range(task.steps_per_epoch):
            optimizer.zero_grad()
            loss = task.loss(task.model, step)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert np.mean(losses[-6:]) < 0.7 * np.mean(losses[:6])
    metrics = task.evaluate(task.model.eval())
    assert metrics["score"] == metrics["dev_accuracy"] and 0 <= metrics["dev_span_accuracy"] <= 1
    task.save(tmp_path / "model", task.model.state_dict(), metrics)
    record = SignClassifier.from_pretrained(tmp_path / "model").record
    assert record["synthetic"] and record["from"] == {"recipe": "made in the test"}


def test_segments_of_another_corpus_or_model_are_refused(continuous: Path, continuous_corpus, tmp_path) -> None:
    corpus = Corpus.open(continuous_corpus)
    other = write_segments(tmp_path / "a", corpus, "train", tuple("vwxyz"))
    overrides = [f"data.segments={other}", f"data.dev_segments={other}"]
    with pytest.raises(FeatureError, match="which the model does not have"):
        build_task(load(continuous, overrides))
    (tmp_path / "a" / "report.json").write_text('{"corpus_fingerprint": "another"}')
    with pytest.raises(FeatureError, match="segments of another corpus"):
        build_task(load(continuous, overrides))
    (tmp_path / "a" / "report.json").unlink()
    with pytest.raises(FeatureError, match="signatlas spot"):
        build_task(load(continuous, overrides))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_end_to_end(isolated: Path, continuous: Path, tmp_path: Path) -> None:
    """Train a classifier; spot segments in the run folder and fine-tune on them; a second call returns the results."""
    first = fit(load(isolated), quiet=True)
    model = SignClassifier.from_pretrained(first["model"])
    assert model.record["synthetic"] and first["best"]["dev_accuracy"] >= 0
    second = fit(load(continuous), quiet=True)
    run = Path(second["model"]).parent
    assert pseudo_labels.read(run / "segments") and (run / "dev_segments" / "report.json").is_file()
    assert {"dev_accuracy", "dev_span_accuracy"} <= set(second["best"])
    before = (run / "segments" / "segments.parquet").stat().st_mtime_ns
    assert "had finished" in fit(load(continuous), quiet=True)["note"]
    assert (run / "segments" / "segments.parquet").stat().st_mtime_ns == before
