"""A small corpus in two parts, as dgs has them: webcam recordings of a few words and a dictionary of many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from signatlas.corpus.format import Clip, Corpus, CorpusInfo, write_corpus
from signatlas.pose import skeleton as sk

WORDS = [f"wort {n}" for n in range(10)]
ALL_SHARED = WORDS[:8]  # words 8 and 9 have no dictionary entry


def gesture(word: int, rng: np.random.Generator, noise: float) -> np.ndarray:
    """A hand on a path that belongs to ``word``, with nose, float32 [T, 75, 3]."""
    plan = np.random.default_rng(word)
    frames = int(rng.integers(10, 20))
    time = np.linspace(0, 1, frames)[:, None]
    start, end, bend = plan.uniform(0.2, 0.8, (3, 2))
    path = start * (1 - time) + end * time + np.sin(np.pi * time) * (bend - 0.5)
    hand = plan.normal(0, 0.05, (sk.NUM_HAND, 2))
    poses = np.full((frames, sk.NUM_POINTS, 3), np.nan, np.float32)
    poses[:, sk.NOSE, :2] = (0.5, 0.2)
    poses[:, sk.RIGHT_HAND, :2] = path[:, None] + hand + rng.normal(0, noise, (frames, sk.NUM_HAND, 2))
    return poses


def clips() -> Iterator[Clip]:
    rng = np.random.default_rng(0)
    for number, word in enumerate(WORDS):
        for take in range(8):
            split = ("train", "train", "train", "train", "dev", "dev", "test", "test")[take]
            poses = gesture(number, rng, 0.01)
            yield Clip(f"web/{word}/{take}", split, poses, "gsg", "webcam", gloss=word, width=640, height=480)
    for number in range(30):
        gloss = ALL_SHARED[number] if number < len(ALL_SHARED) else f"eintrag {number}"
        poses = gesture(number if number < len(ALL_SHARED) else 100 + number, rng, 0.01)
        yield Clip(f"dictionary/{gloss}", "train" if number % 4 else "test", poses, "gsg", "dictionary", gloss=gloss)


@pytest.fixture(scope="session")
def two_part_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    info = CorpusInfo("two-part", "1", "Apache-2.0", "made in the test", ("gsg",), synthetic=True)
    folder: Path = tmp_path_factory.mktemp("corpora") / "two-part"
    return write_corpus(folder, info, clips())
