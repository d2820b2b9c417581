"""Small corpora: one of webcam recordings and dictionary entries, like dgs, and one of sentences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from signatlas.corpus.format import Clip, Corpus, CorpusInfo, write_corpus
from signatlas.features.store import FeatureInfo, FeatureStore, write
from signatlas.pose import skeleton as sk

WORDS = [f"wort {n}" for n in range(10)]
ALL_SHARED = WORDS[:8]  # words 8 and 9 have no dictionary entry


def gesture(word: int, rng: np.random.Generator, noise: float) -> np.ndarray:
    """Return poses of a hand on a path of its own for each ``word``, with nose, float32 [T, 75, 3]."""
    word_rng = np.random.default_rng(word)
    frames = int(rng.integers(10, 20))
    time = np.linspace(0, 1, frames)[:, None]
    start, end, bend = word_rng.uniform(0.2, 0.8, (3, 2))
    path = start * (1 - time) + end * time + np.sin(np.pi * time) * (bend - 0.5)
    hand = word_rng.normal(0, 0.05, (sk.NUM_HAND, 2))
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


# Sentences of four words in two languages, word by word the same; each word is a feature vector.
GERMAN = ("hund", "katze", "haus", "baum", "ball", "kind", "mann", "frau")
ENGLISH = ("dog", "cat", "house", "tree", "ball", "child", "man", "woman")


def sentence_clips() -> Iterator[Clip]:
    rng = np.random.default_rng(0)
    for number in range(60):
        split = "train" if number < 30 else "dev" if number < 36 else "test"
        words = rng.integers(0, len(GERMAN), 4)
        if number in (40, 41):
            words = np.arange(4)  # the same sentence twice
        if number == 42:
            words = np.arange(4, 8)
        if number == 3:
            words = np.arange(4, 8)  # in training too
        glosses = tuple(GERMAN[w] for w in words)
        texts = (("de", " ".join(glosses) + "."), ("en", " ".join(ENGLISH[w] for w in words)))
        texts = texts[:1] if number == 59 else texts
        recordings = tuple(f"rec/{'a' if split == 'train' or number % 2 else 'b'}/{w}" for w in words)
        poses = np.zeros((4, sk.NUM_POINTS, 3), np.float32)
        yield Clip(f"satz {number:02d}", split, poses, "gsg", "made", glosses=glosses, exemplars=recordings,
                   texts=texts, gloss_spans=((0, 1), (1, 2), (2, 3), (3, 4)), gloss_kinds=("real",) * 4)  # fmt: skip


@pytest.fixture(scope="session")
def sentence_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    info = CorpusInfo("sentences", "1", "Apache-2.0", "made in the test", ("gsg",), synthetic=True)
    return write_corpus(tmp_path_factory.mktemp("corpora") / "sentences", info, sentence_clips())


@pytest.fixture(scope="session")
def sentence_features(sentence_corpus: Corpus) -> FeatureStore:
    """One-hot words with noise, as of a perfect sign encoder."""
    rng = np.random.default_rng(1)
    rows = sentence_corpus.metadata()
    values = [np.eye(8)[[GERMAN.index(g) for g in row["glosses"]]] + rng.normal(0, 0.1, (4, 8)) for row in rows]
    info = FeatureInfo(kind="windows", streams=("agnostic",), width=8, corpus="sentences",
                       corpus_fingerprint=sentence_corpus.info.fingerprint)  # fmt: skip
    folder = Path(sentence_corpus.path).parent / "features"
    return write(folder, info, [row["id"] for row in rows], [4] * len(rows), {"agnostic": values})


@pytest.fixture(scope="session")
def dual_encoders(sentence_corpus: Corpus, sentence_features: FeatureStore) -> Path:
    """Folders first/model and second/model: two untrained dual encoders."""
    import torch

    from signatlas.models.dual_encoder.config import DualEncoderConfig
    from signatlas.models.dual_encoder.encoder import DualEncoder

    sizes = {"width": 16, "depth": 1, "heads": 2, "feedforward": 16}
    config = DualEncoderConfig.model_validate(
        {"sign": {**sizes, "max_windows": 4}, "text": {**sizes, "max_tokens": 6}, "embedding": 8}
    )
    texts = [text["text"] for row in sentence_corpus.split("train").metadata() for text in row["texts"]]
    record = {"languages": ["de"], "corpus_fingerprint": sentence_corpus.info.fingerprint, "shuffle_pairs": True,
              "features": str(sentence_features.path), "features_fingerprint": "another"}  # fmt: skip
    folder = Path(sentence_corpus.path).parent
    for number, name in enumerate(("first", "second")):
        torch.manual_seed(number)
        DualEncoder.build(config, texts, 8, record=record).save_pretrained(folder / name / "model", "# Its card\n")
    return folder
