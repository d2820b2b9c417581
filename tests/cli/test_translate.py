"""`signatlas translate`: a clip, a file of poses and a video come to the same text; mistakes are one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from cli import translate as command
from signatlas.corpus.export import export
from signatlas.corpus.format import Clip, Corpus
from signatlas.errors import UserError
from signatlas.features import store, windows
from signatlas.models.sign_classifier import SignClassifier
from signatlas.models.translator.translator import Translator
from signatlas.pose.prepared_clips import PreparedClips
from tests.evaluation.translations.tiny_translator import train


def run(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(command.translate)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def answer(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exception is None, result.exception
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def corpus(continuous_corpus: Path) -> Corpus:
    return Corpus.open(continuous_corpus)


@pytest.fixture(scope="module")
def of_features(corpus: Corpus, small_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translator of clip features; what made them lies beside it, as training leaves it."""
    place = tmp_path_factory.mktemp("translators")
    encoder, clips = SignClassifier.from_pretrained(small_classifier), list(corpus)
    bank = PreparedClips.from_clips(clips, encoder.config.points, encoder.config.aspect)
    which, first = windows.all_starts(bank.lengths, 16, 1, 12)
    found = np.split(encoder.window_features(bank, which, first), np.flatnonzero(np.diff(which)) + 1)
    info = store.FeatureInfo(kind="windows", streams=("agnostic",), width=16, corpus="made", window=16, stride=1,
                             limit=12, corpus_fingerprint=corpus.info.fingerprint)  # fmt: skip
    store.write(place / "features", info, [c.id for c in clips], [len(f) for f in found], {"agnostic": found})
    train(place / "model", corpus, {"kind": "features", "max_frames": 8}, features=place / "features", steps=40)
    shutil.copytree(small_classifier, place / "model" / "sign_encoders" / "agnostic")
    return place / "model"


@pytest.fixture(scope="module")
def of_poses(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translators") / "poses"
    train(folder, corpus, {"kind": "pose", "points": "nose_hands", "width": 16, "max_frames": 20}, steps=30)
    return folder


@pytest.fixture(scope="module")
def pose_file(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Clip, Path]:
    """A clip of 60 frames, and the same as a .pose file."""
    clip = next(clip for clip in corpus if clip.num_frames == 60)
    folder = tmp_path_factory.mktemp("poses") / "out"
    export(corpus.where(lambda row: row["id"] == clip.id), folder)
    return clip, next(folder.rglob("*.pose"))


@pytest.mark.parametrize("kind", ["of_features", "of_poses"])
def test_a_clip_its_poses_as_file_and_as_array_are_one_text(
    kind: str, pose_file: tuple[Clip, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model, (clip, path) = request.getfixturevalue(kind), pose_file
    of_clip = answer(clip.id, "--model", model)
    assert of_clip["reference"] == dict(clip.texts)["de"]
    assert len(of_clip["texts"]) == 1 and of_clip["texts"][0]
    of_file = answer(path, "--model", model)
    assert of_file["texts"] == of_clip["texts"] and of_file["reference"] is None
    np.save(tmp_path / "poses.npy", clip.poses)
    assert answer(tmp_path / "poses.npy", "--model", model)["texts"] == of_clip["texts"]


def test_features_that_are_gone_are_made_again_from_the_poses(
    of_features: Path, pose_file: tuple[Clip, Path], tmp_path: Path
) -> None:
    clip, _ = pose_file
    there = answer(clip.id, "--model", of_features)
    moved = tmp_path / "model"
    shutil.copytree(of_features, moved)
    config = json.loads((moved / "config.json").read_text())
    config["record"]["features"] = str(tmp_path / "gone")
    (moved / "config.json").write_text(json.dumps(config))
    found = answer(clip.id, "--model", moved)
    assert found["texts"] == there["texts"]
    assert found["notes"] == ["8 of the clip's 45 windows are looked at, evenly spread: the model takes no more"]
    shutil.rmtree(moved / "sign_encoders")
    assert "has no sign encoders of its own" in str(run(clip.id, "--model", moved).exception)


def test_a_long_clip_is_thinned_evenly_and_that_is_said(of_poses: Path, pose_file: tuple[Clip, Path]) -> None:
    for what in pose_file[0].id, pose_file[1]:
        result = run(what, "--model", of_poses)
        assert "note: 20 of the clip's 60 frames are looked at, evenly spread" in result.stderr
        assert "note" not in result.stdout
    short = next(clip.id for clip in Corpus.open(_corpus_of(of_poses)) if clip.num_frames == 10)
    assert "note" not in run(short, "--model", of_poses).stderr


def _corpus_of(model: Path) -> str:
    return str(Translator.from_pretrained(model).record["corpus_path"])


def test_alternatives_are_the_best_first(of_features: Path, pose_file: tuple[Clip, Path]) -> None:
    clip, _ = pose_file
    best = answer(clip.id, "--model", of_features)["texts"]
    several = answer(clip.id, "--model", of_features, "--n-best", 3)["texts"]
    assert len(several) == 3 and several[:1] == best and len(set(several)) > 1
    printed = run(clip.id, "--model", of_features, "--n-best", 3)
    assert printed.stdout.splitlines() == [f"{place}. {text}" for place, text in enumerate(several, 1)]
    assert "reference: Satz" in printed.stderr
    assert run(clip.id, "--model", of_features).stdout.splitlines() == best


def test_a_video_without_a_person_is_one_line(of_poses: Path, film: Any, tmp_path: Path) -> None:
    result = run(film(tmp_path / "gray.mp4", 4), "--model", of_poses)
    assert isinstance(result.exception, UserError)
    assert "not one hand was found in 4 frames" in str(result.exception)


def test_a_translator_of_pictures_takes_videos_and_no_poses(
    corpus: Corpus, film: Any, pose_file: tuple[Clip, Path], tmp_path: Path
) -> None:
    """Videos of gray, named by clip, of which only the first frames are there."""
    videos = tmp_path / "videos"
    for clip in corpus:
        target = videos / f"{clip.id}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        film(target, 6, fps=25)
    small = {"kind": "resnet", "size": 32, "max_frames": 4}
    train(tmp_path / "model", corpus, small, frames=videos, steps=1)
    id = pose_file[0].id
    of_clip = answer(id, "--model", tmp_path / "model")
    assert answer(videos / f"{id}.mp4", "--model", tmp_path / "model")["texts"] == of_clip["texts"]
    assert "has no pictures" in str(run(pose_file[1], "--model", tmp_path / "model").exception)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["gone.mp4"], "gone.mp4: there is no such file"),
        (["made/test/99"], "'made/test/99' is neither a file nor a clip of"),
        (["x", "--corpus", "nowhere"], "nowhere"),
        (["x", "--n-best", "9"], "--n-best 9 is more than --num-beams 8"),
    ],
)
def test_mistakes_are_one_line(of_poses: Path, words: list[str], why: str) -> None:
    result = run(*words, "--model", of_poses)
    assert isinstance(result.exception, UserError), result.exception
    assert why in str(result.exception) and "\n" not in str(result.exception)


def test_files_that_are_not_signing_are_one_line(of_poses: Path, small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no video")
    (tmp_path / "cut.pose").write_bytes(b"\0\1\2")
    (tmp_path / "empty").mkdir()
    for name, why in (
        ("text.txt", "is not a video that can be read"),
        ("cut.pose", "is not a whole .pose file"),
        ("empty", "holds no picture"),
    ):
        result = run(tmp_path / name, "--model", of_poses)
        assert isinstance(result.exception, UserError), result.exception
        assert why in str(result.exception)
    assert "is a sign encoder, not a translator" in str(run("x", "--model", small_model).exception)
