"""`signatlas translate`: a clip, a file of poses and a video give the same text; mistakes are one line."""

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
from signatlas.models.translator.translator import Translator
from tests.evaluation.translations.tiny_translator import train
from tests.models.tiny_feature_translator import train_with_sign_encoder


def run(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(command.translate)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def answer(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exception is None, result.exception
    printed: dict[str, Any] = json.loads(result.stdout)
    return printed


@pytest.fixture(scope="module")
def corpus(continuous_corpus: Path) -> Corpus:
    return Corpus.open(continuous_corpus)


@pytest.fixture(scope="module")
def feature_translator(corpus: Corpus, small_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_with_sign_encoder(tmp_path_factory.mktemp("translators"), corpus, small_classifier)


@pytest.fixture(scope="module")
def pose_translator(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
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


@pytest.mark.parametrize("kind", ["feature_translator", "pose_translator"])
def test_a_clip_its_pose_file_and_its_array_give_one_text(
    kind: str, pose_file: tuple[Clip, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model, (clip, path) = request.getfixturevalue(kind), pose_file
    from_clip = answer(clip.id, "--model", model)
    assert from_clip["reference"] == dict(clip.texts)["de"]
    assert len(from_clip["texts"]) == 1 and from_clip["texts"][0]
    from_file = answer(path, "--model", model)
    assert from_file["texts"] == from_clip["texts"] and from_file["reference"] is None
    np.save(tmp_path / "poses.npy", clip.poses)
    assert answer(tmp_path / "poses.npy", "--model", model)["texts"] == from_clip["texts"]


def test_missing_features_are_computed_from_the_poses(
    feature_translator: Path, pose_file: tuple[Clip, Path], tmp_path: Path
) -> None:
    clip, _ = pose_file
    stored = answer(clip.id, "--model", feature_translator)
    moved = tmp_path / "model"
    shutil.copytree(feature_translator, moved)
    config = json.loads((moved / "config.json").read_text())
    config["record"]["features"] = str(tmp_path / "gone")
    (moved / "config.json").write_text(json.dumps(config))
    computed = answer(clip.id, "--model", moved)
    assert computed["texts"] == stored["texts"]
    assert computed["notes"] == ["8 of the clip's 45 windows are used, evenly spread: the model takes no more"]
    shutil.rmtree(moved / "sign_encoders")
    assert "has no sign encoders of its own" in str(run(clip.id, "--model", moved).exception)


def test_a_long_clip_is_subsampled_with_a_note(pose_translator: Path, pose_file: tuple[Clip, Path]) -> None:
    for signing in pose_file[0].id, pose_file[1]:
        result = run(signing, "--model", pose_translator)
        assert "note: 20 of the clip's 60 frames are used, evenly spread" in result.stderr
        assert "note" not in result.stdout
    short = next(clip.id for clip in Corpus.open(_corpus_of(pose_translator)) if clip.num_frames == 10)
    assert "note" not in run(short, "--model", pose_translator).stderr


def _corpus_of(model: Path) -> str:
    return str(Translator.from_pretrained(model).record["corpus_path"])


def test_alternatives_come_best_first(feature_translator: Path, pose_file: tuple[Clip, Path]) -> None:
    clip, _ = pose_file
    best = answer(clip.id, "--model", feature_translator)["texts"]
    several = answer(clip.id, "--model", feature_translator, "--n-best", 3)["texts"]
    assert len(several) == 3 and several[:1] == best and len(set(several)) > 1
    printed = run(clip.id, "--model", feature_translator, "--n-best", 3)
    assert printed.stdout.splitlines() == [f"{number}. {text}" for number, text in enumerate(several, 1)]
    assert "reference: Satz" in printed.stderr
    assert run(clip.id, "--model", feature_translator).stdout.splitlines() == best


def test_a_video_without_a_person_is_one_line(pose_translator: Path, film: Any, tmp_path: Path) -> None:
    result = run(film(tmp_path / "gray.mp4", 4), "--model", pose_translator)
    assert isinstance(result.exception, UserError)
    assert "no hand detected in 4 frames" in str(result.exception)


def test_an_image_translator_takes_videos_and_no_poses(
    corpus: Corpus, film: Any, pose_file: tuple[Clip, Path], tmp_path: Path
) -> None:
    """Gray videos named by clip, which hold only the first frames."""
    videos = tmp_path / "videos"
    for clip in corpus:
        target = videos / f"{clip.id}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        film(target, 6, fps=25)
    small = {"kind": "resnet", "size": 32, "max_frames": 4}
    train(tmp_path / "model", corpus, small, frames=videos, steps=1)
    id = pose_file[0].id
    from_clip = answer(id, "--model", tmp_path / "model")
    assert answer(videos / f"{id}.mp4", "--model", tmp_path / "model")["texts"] == from_clip["texts"]
    assert "has no images" in str(run(pose_file[1], "--model", tmp_path / "model").exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone.mp4"], "gone.mp4: no such file"),
        (["made/test/99"], "'made/test/99' is neither a file nor a clip of"),
        (["x", "--corpus", "nowhere"], "nowhere"),
        (["x", "--n-best", "9"], "--n-best 9 is more than --num-beams 8"),
    ],
)
def test_mistakes_are_one_line(pose_translator: Path, words: list[str], message: str) -> None:
    result = run(*words, "--model", pose_translator)
    assert isinstance(result.exception, UserError), result.exception
    assert message in str(result.exception) and "\n" not in str(result.exception)


def test_unreadable_files_are_one_line(pose_translator: Path, small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no video")
    (tmp_path / "cut.pose").write_bytes(b"\0\1\2")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("text.txt", "is not a readable video"),
        ("cut.pose", "is not a valid .pose file"),
        ("empty", "without images"),
    ):
        result = run(tmp_path / name, "--model", pose_translator)
        assert isinstance(result.exception, UserError), result.exception
        assert message in str(result.exception)
    assert "is a sign encoder, not a translator" in str(run("x", "--model", small_model).exception)
