"""One-shot recipes have no class with both dictionary entries and webcam recordings."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from signatlas.corpus import Clip, Corpus, write_corpus
from signatlas.evaluation.signs.protocols import dev_words, shared_words
from signatlas.recipe import load
from signatlas.synthetic.procedural import compose
from trainers.tasks.sign_encoder.task import dev_split, group_labels

ROOT = Path(__file__).parents[4]
RECIPES = ["dgs_one_shot", "dgs_one_shot_unseen"]
SMALL = ["model.width=16", "model.depth=1", "model.heads=2", "model.feedforward=16", "model.frames=8",
         "data.groups.0.classes_per_batch=2", "data.groups.1.classes_per_batch=4", "optimizer.epochs=1",
         "optimizer.batches_per_epoch=2", "scaling.workers=1"]  # fmt: skip


@pytest.fixture(scope="module")
def two_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve words in part "webcam"; eight of them and four others in part "dictionary", one clip each."""
    info, clips = compose(signs=16, signers=4, takes=5, seed=0)
    words = sorted({c.gloss for c in clips if c.gloss})
    selected: list[Clip] = []
    for number, word in enumerate(words):
        recordings = [c for c in clips if c.gloss == word]
        if number < 12:
            splits = ["train"] * 6 + ["dev"] * 2 + ["test"] * 2
            selected += [
                replace(c, source="webcam", split=s, signer=None) for c, s in zip(recordings, splits, strict=False)
            ]
        if number >= 4:
            selected.append(
                replace(recordings[-1], id=f"dictionary/{word}", source="dictionary", split="test", signer=None)
            )
    folder = tmp_path_factory.mktemp("corpora") / "two-parts"
    write_corpus(folder, info, selected)
    return folder


@pytest.mark.fault
@pytest.mark.parametrize("name", RECIPES)
def test_training_classes_of_a_run(name: str, two_parts: Path, tmp_path: Path) -> None:
    overrides = [*SMALL, f"data.corpus={two_parts}"]
    command = [sys.executable, "-m", "cli", "train", f"recipes/{name}.yaml", "--storage-path", str(tmp_path)]
    sets = [part for override in overrides for part in ("--set", override)]
    done = subprocess.run([*command, *sets], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    model = tmp_path / name / "model"
    classes = json.loads((model / "training_classes.json").read_text())
    rows = {row["id"]: row for row in Corpus.open(two_parts).metadata()}
    shared = set(shared_words(rows.values()))
    assert len(shared) == 8
    for entry in classes:
        sources = {rows[clip]["source"] for clip in entry["clips"]}
        assert len(sources) == 1, entry
        if sources == {"dictionary"}:
            assert len(entry["clips"]) == 1, "each entry is a class"
            assert entry["group"] == 1, "its group has no webcam recording, so it is not a negative of one either"
        else:
            assert all(rows[clip]["split"] == "train" for clip in entry["clips"])
    trained_words = {rows[clip]["gloss"] for e in classes for clip in e["clips"] if rows[clip]["source"] == "webcam"}
    record = json.loads((model / "config.json").read_text())["record"]
    if name == "dgs_one_shot_unseen":
        assert not trained_words & shared, "the model has seen no recording of the query words"
        assert set(record["excluded_glosses"]) == shared
    else:
        assert shared < trained_words
    assert set(record["queries"]) <= set(dev_words(shared)), "the checkpoint was selected on dev words only"


@pytest.mark.parametrize("name", RECIPES)
def test_dev_queries_are_dev_recordings_of_dev_words_and_the_gallery_is_the_dictionary(
    name: str, two_parts: Path
) -> None:
    recipe, rows = load(ROOT / "recipes" / f"{name}.yaml"), Corpus.open(two_parts).metadata()
    queries, gallery = dev_split(rows, recipe.checkpoint_selection)
    words = set(dev_words(shared_words(rows)))
    assert {(rows[i]["source"], rows[i]["split"]) for i in queries} == {("webcam", "dev")}
    assert {rows[i]["gloss"] for i in queries} <= words
    assert {rows[i]["source"] for i in gallery} == {"dictionary"}
    webcam = group_labels(rows, recipe.data.groups[0], set())
    assert not {rows[i]["id"] for i in queries} & {rows[i]["id"] for i in webcam}
