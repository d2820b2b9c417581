"""A tiny corpus of sentences whose clip features encode their glosses: a model learns it in seconds."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from signatlas.corpus.format import Clip, Corpus, CorpusInfo, write_corpus
from signatlas.features.store import FeatureInfo, write
from signatlas.pose import skeleton as sk

WORDS = {"morgen": "tomorrow", "regen": "rain", "norden": "north", "sonne": "sun", "wind": "wind", "kalt": "cold",
         "abend": "evening", "berg": "mountain", "schnee": "snow", "warm": "warm"}  # fmt: skip
CHINESE = dict(
    zip(WORDS, ("明天", "下雨", "北方", "太阳", "大风", "寒冷", "晚上", "高山", "下雪", "温暖"), strict=True)
)


def write_sentences(folder: Path, clips: int = 72, width: int = 12, chinese: bool = False) -> tuple[Path, Path]:
    """Write and return (corpus, features): sentences of three words; the first two training texts are equal."""
    rng, written = np.random.default_rng(0), []
    for number in range(clips):
        glosses = tuple(rng.choice(list(WORDS), 3, replace=False).tolist())
        if number == 1:
            glosses = written[0].glosses or ()
        poses = np.full((30, sk.NUM_POINTS, 3), np.nan, np.float32)
        poses[:, sk.NOSE, :2] = (0.5, 0.2)
        poses[:, sk.RIGHT_HAND, :2] = rng.uniform(0.2, 0.8, (30, sk.NUM_HAND, 2))
        texts = [("de", " ".join(glosses)), ("en", " ".join(WORDS[g] for g in glosses))]
        if chinese:
            texts.append(("zh", "".join(CHINESE[g] for g in glosses) + "。"))
        split = "dev" if number % 9 == 7 else "test" if number % 9 == 8 else "train"
        spans = ((0, 10), (10, 20), (20, 30))
        written.append(Clip(f"tiny/{number:03d}", split, poses, "gsg", "tiny", glosses=glosses, gloss_spans=spans,
                            texts=tuple(texts), fps=25.0, width=640, height=480))  # fmt: skip
    info = CorpusInfo("tiny", "1", "Apache-2.0", "made in the test", ("gsg",), synthetic=True)
    corpus = write_corpus(folder / "corpus", info, written)
    return folder / "corpus", write_features(folder / "features", corpus, width)


def write_features(folder: Path, corpus: Corpus, width: int) -> Path:
    """Write features with six windows per clip, two per gloss, with noise."""
    rows = corpus.metadata()
    features = [np.repeat([_vector(g, width) for g in row["glosses"]], 2, axis=0) for row in rows]
    noise = np.random.default_rng(1)
    features = [f + noise.normal(0, 0.1, f.shape) for f in features]
    info = FeatureInfo(
        kind="windows", streams=("agnostic",), width=width, corpus="tiny", corpus_fingerprint=corpus.info.fingerprint
    )
    write(folder, info, [r["id"] for r in rows], [len(f) for f in features], {"agnostic": iter(features)})
    return folder


def _vector(gloss: str, width: int) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(gloss.encode())).normal(size=width)


def small_settings(corpus: Path, features: Path, runs: Path) -> dict[str, Any]:
    """Return a recipe that trains in seconds."""
    small = {"width": 32, "depth": 1, "heads": 2, "feedforward": 32}
    return {
        "name": "tiny", "task": "contrastive", "storage_path": str(runs),
        "data": {"corpus": str(corpus), "features": str(features), "languages": ["de"]},
        "model": {"sign": {"max_windows": 8, **small}, "text": {"max_tokens": 8, **small}, "embedding": 24},
        "loss": {"batch_size": 8},
        "optimizer": {"epochs": 6, "lr": 3e-3},
        "checkpoint_selection": {"evaluate_every": 2},
        "scaling": {"workers": 1, "cpus_per_worker": 0.5},
    }  # fmt: skip
