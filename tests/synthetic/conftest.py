"""Fixtures: a lexicon from two cameras, with a few words of many recordings and many words of one recording."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from signatlas.corpus.clips import Clip
from signatlas.corpus.format import CorpusInfo, write_corpus
from signatlas.pose import skeleton as sk
from signatlas.synthetic.composition.lexicon import Lexicon, build_lexicon

SEVERAL = [f"many{i}" for i in range(4)]
SINGLE = [f"one{i}" for i in range(30)]


def hand_shape(rng: np.random.Generator) -> np.ndarray:
    """Return random hand points [21, 2] relative to the wrist, with the middle knuckle at distance 1."""
    points = rng.normal(0, 0.15, (21, 2))
    points += np.array([0.0, -1.0]) * np.linspace(0, 1.6, 21)[:, None] % 1.7
    points[0], points[9] = 0, (0.0, -1.0)
    points[5], points[17] = (-0.3, -1.0), (0.3, -0.9)
    angle = rng.uniform(0, 2 * np.pi)
    return points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def recording(
    word: str, number: int, *, palm: float, wide: float, source: str, split: str, two_handed: bool = True
) -> Clip:
    """Return a recording: from rest, along the curve of the word, and back; ``palm`` and ``wide`` mimic a camera."""
    word_rng = np.random.default_rng(int.from_bytes(word.encode(), "big") % 2**32)
    rng = np.random.default_rng([number, len(word)])
    corners = word_rng.uniform([-3, 0], [3, 5], (2, 3, 2))
    shapes = np.stack([hand_shape(word_rng), hand_shape(word_rng) * np.array([-1, 1])])
    frames = 30 + int(rng.integers(8))
    knots = np.concatenate([[[[-2, 9.0]], [[2, 9.0]]], corners, [[[-2, 9.0]], [[2, 9.0]]]], axis=1)
    knot_times = np.linspace(0, knots.shape[1] - 1, frames)
    wrists = np.stack(
        [[np.interp(knot_times, np.arange(knots.shape[1]), knots[h, :, a]) for a in (0, 1)] for h in (0, 1)]
    ).transpose(2, 0, 1)
    points = (wrists[:, :, None] + shapes + rng.normal(0, 0.02, (frames, 2, 21, 2))) * palm * np.array([wide, 1.0])
    poses = np.full((frames, sk.NUM_POINTS, 3), np.nan, np.float32)
    poses[:, sk.NOSE, :2] = (0.5, 0.3)
    poses[:, sk.RIGHT_HAND, :2] = points[:, 0] + (0.5, 0.3)
    if two_handed:
        poses[:, sk.LEFT_HAND, :2] = points[:, 1] + (0.5, 0.3)
    return Clip(f"lexicon/{source}/{word}/{number}", split, poses, "gsg", source, gloss=word)


def recordings() -> Iterator[Clip]:
    for word in SEVERAL:
        for number in range(9):
            split = ("train", "dev", "test")[number % 3]
            yield recording(word, number, palm=0.1, wide=0.8, source="webcam", split=split)
    for index, word in enumerate(SINGLE):
        yield recording(
            word, 0, palm=0.06, wide=1.2, source="dictionary", split="train", two_handed=index % 2 == 0
        )  # fmt: skip


@pytest.fixture(scope="session")
def lexicon() -> Lexicon:
    return build_lexicon(recordings())


@pytest.fixture(scope="session")
def lexicon_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora") / "lexicon"
    info = CorpusInfo("lexicon", "1", "Apache-2.0", "made in the test", ("gsg",), synthetic=True)
    write_corpus(folder, info, recordings())
    return folder


@pytest.fixture(scope="session")
def sentences_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 sentences of 3 to 6 glosses, one of them without a gloss; every third has a length."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(60):
        glosses = rng.choice(SEVERAL + SINGLE, int(rng.integers(3, 7))).tolist() if number != 7 else []
        row = {"id": f"own/{number:03d}", "split": ("train", "train", "dev", "test")[number % 4], "glosses": glosses,
               "texts": {"de": f"Satz {number}", "en": f"sentence {number}"}}  # fmt: skip
        lines.append(json.dumps(row | ({"frames": 15 * len(glosses)} if number % 3 == 0 else {})))
    file = tmp_path_factory.mktemp("sentences") / "sentences.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file
