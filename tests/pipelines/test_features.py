"""Features and segments from Ray Data equal those computed clip by clip; errors leave no partial output."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cli.main import main
from signatlas.corpus.format import Corpus, write_corpus
from signatlas.errors import FeatureError, PoseError
from signatlas.features import pseudo_labels, windows
from signatlas.models.sign_classifier import SignClassifier
from signatlas.pose.prepared_clips import PreparedClips
from signatlas.recipe.pseudo_label import SpotConfig
from trainers.pipelines.features import extract, in_order
from trainers.pipelines.spot import read_report, spot

pytestmark = pytest.mark.usefixtures("ray_session")


def test_features_equal_those_of_the_model_in_corpus_order(
    small_classifier: Path, continuous_corpus: Path, tmp_path: Path
) -> None:
    corpus, seen = Corpus.open(continuous_corpus), []
    models = {"aware": str(small_classifier)}
    store = extract(models, corpus, tmp_path / "out", limit=8, progress=lambda *done: seen.append(done))
    assert store.ids == [row["id"] for row in corpus.metadata()]
    assert store.info.streams == ("aware",) and store.info.made["aware"] == "made in the test"
    assert seen[-1] == (24, int(store.counts.sum()))
    saved = tmp_path / "out" / "models" / "aware"
    model = SignClassifier.from_pretrained(saved)  # the model is saved with the features
    for position, clip in enumerate(corpus):
        bank = PreparedClips([(clip.poses, 1.0)], "nose_hands")
        expected = model.window_features(bank, *windows.all_starts(bank.lengths, limit=8))
        np.testing.assert_allclose(store.of(position, alpha=0.5), expected, atol=2e-3)


@pytest.mark.slow
def test_segments_equal_greedy_segments_of_each_clip(
    small_classifier: Path, continuous_corpus: Path, tmp_path: Path
) -> None:
    corpus = Corpus.open(continuous_corpus)
    settings = SpotConfig(threshold=0.4, merge=2, suppress=9, stride=2)
    report = spot(str(small_classifier), corpus, tmp_path / "out", splits=("train", "dev"), settings=settings)
    model, expected = SignClassifier.from_pretrained(small_classifier), []
    for clip in corpus.where(lambda row: row["split"] != "test"):
        bank = PreparedClips([(clip.poses, 1.0)], "nose_hands")
        clip_indices, first = windows.all_starts(bank.lengths, stride=2)
        features = torch.from_numpy(model.window_features(bank, clip_indices, first))
        score, label = (a.detach().numpy() for a in model.scores(features).softmax(-1).max(-1))
        segments = pseudo_labels.greedy_segments(score, first, label, threshold=0.4, merge=2, suppress=9)
        expected += [
            (clip.id, model.classes[s.label], s.start, s.end, pytest.approx(s.score, abs=1e-4)) for s in segments
        ]
    assert len(expected) > 10
    labels = [(f.id, f.name, f.start, f.end, f.score) for f in pseudo_labels.read(tmp_path / "out")]
    assert labels == expected
    assert report == read_report(tmp_path / "out")
    assert report["segments"] == len(expected) and report["clips"] == 19
    assert report["judged"]["spans"] == 38 and 0 <= report["judged"]["precision"] <= 1


@pytest.mark.slow
def test_an_unusable_clip_leaves_no_partial_output(
    small_classifier: Path, continuous_corpus: Path, tmp_path: Path
) -> None:
    corpus = Corpus.open(continuous_corpus)
    clips = list(corpus)
    clips[7] = replace(clips[7], poses=np.full_like(clips[7].poses, np.nan))
    write_corpus(tmp_path / "corpus", corpus.info, clips)
    with pytest.raises(PoseError, match=clips[7].id):
        extract({"agnostic": str(small_classifier)}, Corpus.open(tmp_path / "corpus"), tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus"]


def test_streams_of_different_widths_are_rejected(
    small_classifier: Path, continuous_corpus: Path, tmp_path: Path
) -> None:
    model = SignClassifier.from_pretrained(small_classifier)
    SignClassifier(model.config.model_copy(update={"width": 32}), model.classes).save_pretrained(tmp_path / "wide")
    models = {"agnostic": str(small_classifier), "aware": str(tmp_path / "wide")}
    with pytest.raises(FeatureError, match="different widths"):
        extract(models, Corpus.open(continuous_corpus), tmp_path / "out")


def test_early_arrays_are_buffered() -> None:
    pairs = [(id, np.array([n])) for n, id in enumerate("badce")]
    assert [int(a[0]) for a in in_order(pairs, "abcde")] == [1, 0, 3, 2, 4]
    with pytest.raises(FeatureError, match="clip c"):
        list(in_order(pairs[:3], "abcde"))


def run(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_info:
        main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return int(exit_info.value.code or 0), output.out, output.err


@pytest.mark.slow
def test_extract_info_and_spot_commands(
    small_classifier: Path, continuous_corpus: Path, small_model: Path, tmp_path: Path, capsys
) -> None:
    arguments = ["features", "extract", small_classifier, continuous_corpus, "--out", tmp_path / "features"]
    code, out, _ = run([*arguments, "--limit", 4, "--aware", small_classifier, "--json"], capsys)
    assert code == 0 and json.loads(out)["clips"] == 24 and json.loads(out)["streams"] == ["agnostic", "aware"]
    code, out, _ = run(["features", "info", tmp_path / "features"], capsys)
    assert code == 0 and "16 frames, stride 1, at most 4 per clip" in out
    code, _, err = run(arguments, capsys)
    assert code == 2 and "already exists" in err
    code, _, err = run(["features", "extract", small_model, *arguments[3:5], tmp_path / "x"], capsys)
    assert code == 2 and "not a sign classifier" in err
    code, _, err = run([*arguments[:5], tmp_path / "x", "--stream", "awake"], capsys)
    assert code == 2 and "choose 'agnostic' or 'aware'" in err
    arguments = ["spot", small_classifier, continuous_corpus, "--out", tmp_path / "spotted"]
    code, _, err = run([*arguments, "--split", "dev", "--threshold", 0.999999], capsys)
    assert code == 2 and "lower the threshold" in err and not (tmp_path / "spotted").exists()
    code, out, _ = run([*arguments, "--split", "dev", "--threshold", 0.4], capsys)
    assert code == 0 and "recall %" in out and (tmp_path / "spotted" / "segments.parquet").is_file()
    code, _, err = run([*arguments[:4], tmp_path / "x", "--split", "deb"], capsys)
    assert code == 2 and "has no split 'deb'" in err
