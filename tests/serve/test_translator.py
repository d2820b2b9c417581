"""The translator of the service: texts equal those of the command in any batch; errors, deadlines, load."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from cli import translate as command
from serve.config import TranslatorApplication, TranslatorOptions
from serve.scaling import PER_REQUEST, QUEUED, RATE
from serve.translator import (
    DeadlinePassed,
    OnText,
    Result,
    TranslationInput,
    TranslationOptions,
    TranslationResult,
    Translator,
)
from signatlas.corpus.format import Clip, Corpus
from signatlas.errors import PoseError
from signatlas.models import Translator as Model
from signatlas.models import load
from signatlas.models.translator.recordings import RecordingReader
from signatlas.retrieval.queries import UnknownClip
from tests.evaluation.translations.tiny_translator import train
from tests.models.tiny_feature_translator import train_with_sign_encoder

OPTIONS = (
    TranslationOptions(num_beams=4, max_new_tokens=20),
    TranslationOptions(num_beams=3, n_best=3, max_new_tokens=12, length_penalty=0.5),
    TranslationOptions(num_beams=1, max_new_tokens=8),
)


class Watched(Translator):
    """A translator that notes the lengths and options of each batch."""

    def __init__(self, application: TranslatorApplication):
        super().__init__(application)
        self.batches: list[tuple[list[int], TranslationOptions]] = []

    def _compute(
        self, recordings: list[Any], options: TranslationOptions, on_text: OnText | None = None
    ) -> list[Result]:
        self.batches.append(([recording.x.shape[1] for recording in recordings], options))
        return super()._compute(recordings, options, on_text)


@pytest.fixture(scope="module")
def corpus(continuous_corpus: Path) -> Corpus:
    return Corpus.open(continuous_corpus)


@pytest.fixture(scope="module")
def pose_model(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translators") / "poses"
    train(folder, corpus, {"kind": "pose", "points": "nose_hands", "width": 16, "max_frames": 40}, steps=30,
          record={"corpus": "made"})  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def feature_model(corpus: Corpus, small_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_with_sign_encoder(tmp_path_factory.mktemp("translators"), corpus, small_classifier)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The service sets the number of torch's threads for its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def application(model: Path, **options: Any) -> TranslatorApplication:
    return TranslatorApplication(name="tiny", model=str(model), translator=TranslatorOptions(**options))


def parts_of(clips: list[Clip], count: int) -> list[np.ndarray]:
    """Return recordings of many lengths: parts of clips, from 6 frames on."""
    rng = np.random.default_rng(0)
    parts = []
    for number in range(count):
        poses = clips[number % len(clips)].poses
        length = int(rng.integers(6, len(poses) + 1))
        start = int(rng.integers(0, len(poses) - length + 1))
        parts.append(poses[start : start + length])
    return parts


class Alone:
    """Translates one recording at a time as `signatlas translate` does, outside the service."""

    def __init__(self, model: Path, corpus: Corpus):
        self.model, self.corpus = load(model, Model), corpus
        self.reader = RecordingReader(model, self.model, corpus)

    def translate(self, request: TranslationInput, options: TranslationOptions) -> list[str]:
        if request.clip is not None:
            recording = self.reader.read_clip(self.corpus.clip(request.clip))
        else:
            assert request.poses is not None
            recording = self.reader.read_poses(
                Clip("x", "test", request.poses, "", request.source or ""), request.aspect
            )
        return self.model.translate(
            [(recording.x, recording.mask)], beams=options.num_beams, best=options.n_best,
            max_new_tokens=options.max_new_tokens, length_penalty=options.length_penalty,
        )  # fmt: skip


@pytest.mark.parametrize("kind", ["pose_model", "feature_model"])
def test_texts_in_mixed_batches_equal_those_of_single_recordings(
    kind: str, corpus: Corpus, request: pytest.FixtureRequest
) -> None:
    model, clips = request.getfixturevalue(kind), list(corpus)
    service, alone = Watched(application(model)), Alone(model, corpus)
    inputs = [TranslationInput(poses, 1.0, "made") for poses in parts_of(clips, 18)]
    inputs += [TranslationInput(clip=clip.id) for clip in clips[:6]]
    requests = [(inputs[i : i + 2], OPTIONS[i // 2 % 3]) for i in range(0, len(inputs), 2)]

    async def send() -> list[list[Result]]:
        return await asyncio.gather(*(service.translate(signing, options) for signing, options in requests))

    different = set()
    for (signing, options), results in zip(requests, asyncio.run(send()), strict=True):
        for one, result in zip(signing, results, strict=True):
            assert isinstance(result, TranslationResult), result
            assert result.texts == alone.translate(one, options)
            different.add(tuple(result.texts))
    assert len(different) > 5
    assert any(len(set(lengths)) > 1 for lengths, _ in service.batches), "no batch was mixed"
    assert all(len(lengths) <= 8 and lengths == sorted(lengths) for lengths, _ in service.batches)
    assert {options for _, options in service.batches} == set(OPTIONS)


def test_a_clip_gives_the_text_and_the_notes_of_the_command(pose_model: Path, corpus: Corpus) -> None:
    ids = [clip.id for clip in corpus][3:5]  # of 40 and 60 frames, the model takes 40
    app = typer.Typer()
    app.command()(command.translate)
    service = Translator(application(pose_model))
    inputs = [TranslationInput(clip=id) for id in ids]
    for id, result in zip(ids, asyncio.run(service.translate(inputs, TranslationOptions(n_best=2))), strict=True):
        printed = CliRunner().invoke(app, [id, "--model", str(pose_model), "--n-best", "2", "--json"])
        answer = json.loads(printed.stdout)
        assert isinstance(result, TranslationResult)
        assert (result.texts, result.notes) == (answer["texts"], answer["notes"])
    assert "40 of the clip's 60 frames" in result.notes[0]


def test_an_error_belongs_to_its_own_recording(pose_model: Path, corpus: Corpus) -> None:
    service, clips = Watched(application(pose_model)), list(corpus)
    good = clips[4].poses
    unusable, infinite = np.full_like(good, np.nan), good.copy()
    infinite[0, 0, 0] = np.inf
    inputs = [
        TranslationInput(good),
        TranslationInput(unusable),
        TranslationInput(clip=clips[4].id),
        TranslationInput(infinite),
        TranslationInput(clip="made/test/99"),
        TranslationInput(clip=f"{corpus.path}/corpus.json"),  # a file of the server is no clip
        TranslationInput(clip="../" * 200),
        TranslationInput(good[:, :40]),
        TranslationInput(clips[0].poses),
    ]
    results = asyncio.run(service.translate(inputs, OPTIONS[0]))
    names = [type(result).__name__ for result in results]
    assert names == [
        "TranslationResult", "PoseError", "TranslationResult", "PoseError", *["UnknownClip"] * 3, "PoseError",
        "TranslationResult",
    ]  # fmt: skip
    assert str(results[4]) == "no clip 'made/test/99' in the corpus of tiny"
    assert len(str(results[6])) < 200
    assert sum(len(lengths) for lengths, _ in service.batches) == 3, "only usable recordings are computed"


def test_an_error_of_the_model_is_that_of_one_recording(pose_model: Path, corpus: Corpus) -> None:
    """A recording with more tokens than mBART has positions fails, the others of its batch are translated."""
    service = Watched(application(pose_model, batch_wait_timeout_s=1))  # long enough to read all four
    alone, clips = Alone(pose_model, corpus), list(corpus)
    backbone = service.reader.backbone.model_copy(update={"max_frames": 100})
    service.reader.backbone = backbone
    inputs = [TranslationInput(clips[4].poses), *(TranslationInput(clips[n].poses) for n in (0, 1, 2))]
    assert len(clips[4].poses) > service.model.language.config.max_position_embeddings
    first, *others = asyncio.run(service.translate(inputs, OPTIONS[0]))
    assert "exceed mBART's 48 positions" in str(first)
    assert service.batches[0][0] == [10, 16, 17, 60]
    for one, result in zip(inputs[1:], others, strict=True):
        assert isinstance(result, TranslationResult) and result.texts == alone.translate(one, OPTIONS[0])


def test_late_and_abandoned_work_is_not_computed(pose_model: Path, corpus: Corpus) -> None:
    service, clips = Watched(application(pose_model, max_batch_size=1)), list(corpus)
    first, late, abandoned, past = (TranslationInput(clips[n].poses) for n in (4, 0, 1, 2))

    async def load() -> tuple[list[Result], list[Result], list[Result], float]:
        running = asyncio.create_task(service.translate([first], TranslationOptions(16, max_new_tokens=46)))
        while not service.batches:
            await asyncio.sleep(0.001)
        left = asyncio.create_task(service.translate([abandoned], OPTIONS[0]))
        started = time.monotonic()
        waiting = asyncio.create_task(service.translate([late], OPTIONS[0], seconds=0.01))
        await asyncio.sleep(0.005)
        left.cancel()
        nothing = await service.translate([past], OPTIONS[0], seconds=0)
        timed_out = await waiting
        elapsed = time.monotonic() - started
        with pytest.raises(asyncio.CancelledError):
            await left
        return await running, timed_out, nothing, elapsed

    done, timed_out, nothing, elapsed = asyncio.run(load())
    assert isinstance(done[0], TranslationResult)
    assert isinstance(timed_out[0], DeadlinePassed) and isinstance(nothing[0], DeadlinePassed)
    assert elapsed < 5, "the answer comes at the deadline"
    assert [lengths for lengths, _ in service.batches] == [[40]]
    assert asyncio.run(service.record_autoscaling_stats())[QUEUED] == 0


def test_the_replica_reports_its_queue_and_its_rate(pose_model: Path, corpus: Corpus) -> None:
    service, clips = Translator(application(pose_model)), list(corpus)

    async def load() -> tuple[dict[str, float], dict[str, float]]:
        task = asyncio.create_task(service.translate([TranslationInput(clips[n].poses) for n in range(5)]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        during = await service.record_autoscaling_stats()
        await service.check_health()
        await task
        return during, await service.record_autoscaling_stats()

    during, after = asyncio.run(load())
    assert during[QUEUED] == 10 + 16 + 17 + 40 + 40 and RATE not in during
    assert after[QUEUED] == 0 and after[RATE] > 0 and 10 < after[PER_REQUEST] < 40


def test_the_model_is_described(pose_model: Path, tmp_path: Path) -> None:
    import hashlib

    described = asyncio.run(Translator(application(pose_model)).describe())
    weights = hashlib.sha256((pose_model / "model.safetensors").read_bytes()).hexdigest()
    parameters = described.pop("parameters")
    assert described == {"name": "tiny", "language": "de", "input": "poses", "weights": weights,
                         "training_corpus": "made"}  # fmt: skip
    assert parameters > 10_000


def test_without_corpus_or_sign_encoders_only_the_rest_works(
    feature_model: Path, pose_model: Path, corpus: Corpus, tmp_path: Path
) -> None:
    import shutil

    clip = next(iter(corpus))
    shutil.copytree(feature_model, tmp_path / "features", ignore=shutil.ignore_patterns("sign_encoders"))
    shutil.copytree(pose_model, tmp_path / "poses")
    config = json.loads((tmp_path / "poses" / "config.json").read_text())
    config["record"]["corpus_path"] = str(tmp_path / "gone")
    (tmp_path / "poses" / "config.json").write_text(json.dumps(config))
    inputs = [TranslationInput(clip=clip.id), TranslationInput(clip.poses)]
    from_clip, from_poses = asyncio.run(Translator(application(tmp_path / "features")).translate(inputs))
    assert isinstance(from_clip, TranslationResult)
    assert isinstance(from_poses, PoseError) and "reads stored features, not poses" in str(from_poses)
    from_clip, from_poses = asyncio.run(Translator(application(tmp_path / "poses")).translate(inputs))
    assert isinstance(from_clip, UnknownClip) and str(tmp_path) not in str(from_clip)
    assert isinstance(from_poses, TranslationResult)
