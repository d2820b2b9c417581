"""Index versions written without Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from signatlas.corpus.format import Clip, Corpus, clips_to_table
from signatlas.features import store
from signatlas.features.store import FeatureInfo, FeatureStore
from signatlas.models.dual_encoder.config import DualEncoderConfig
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.models.sign_encoder import SignEncoder
from signatlas.retrieval import index_version
from signatlas.retrieval.index_version import CorpusPart, IndexVersion


@pytest.fixture(scope="session")
def clips(small_corpus: Path) -> list[Clip]:
    return list(Corpus.open(small_corpus))


@pytest.fixture(scope="session")
def vectors(clips: list[Clip], small_model: Path) -> np.ndarray:
    return SignEncoder.from_pretrained(small_model).embed_clips(clips)


@pytest.fixture(scope="session")
def rows(clips: list[Clip]) -> pa.Table:
    return index_version.as_rows([clips_to_table(clips)])


@pytest.fixture(scope="session")
def part(small_corpus: Path) -> CorpusPart:
    info = Corpus.open(small_corpus).info
    return CorpusPart(name=info.name, path=str(small_corpus), fingerprint=info.fingerprint, license=info.license,
                      sign_languages=info.sign_languages, synthetic=True)  # fmt: skip


@pytest.fixture
def write(vectors: np.ndarray, rows: pa.Table, small_model: Path, part: CorpusPart) -> Callable[..., IndexVersion]:
    """Write the small corpus as an index version: ``write(root, shards=2)``."""

    def call(root: Path, *, vectors: np.ndarray = vectors, **options: Any) -> IndexVersion:
        return index_version.write(root, vectors, rows, model=small_model, corpus=part, **options)

    return call


@pytest.fixture(scope="session")
def features(small_corpus: Path, clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Random features of the small corpus, 1 to 20 windows a clip; a clip of the same word has similar ones."""
    info = FeatureInfo(kind="windows", streams=("agnostic",), width=24, corpus="small",
                       corpus_fingerprint=Corpus.open(small_corpus).info.fingerprint)  # fmt: skip
    words = np.random.default_rng(5).normal(0, 1, (12, 24))
    arrays = []
    for number, clip in enumerate(clips):
        rng = np.random.default_rng(number)
        word = int((clip.gloss or "").split()[1])
        arrays.append(words[word] + rng.normal(0, 0.7, (1 + number % 20, 24)))
    folder = tmp_path_factory.mktemp("features") / "small"
    return store.write(folder, info, [c.id for c in clips], [len(a) for a in arrays], {"agnostic": arrays})


def dual_encoder(folder: Path, **similarity: object) -> Path:
    """A tiny dual encoder with random weights, as a model folder."""
    import torch

    torch.manual_seed(0)
    sizes = {"width": 16, "depth": 1, "heads": 2, "feedforward": 16}
    config = DualEncoderConfig.model_validate(
        {
            "sign": {"max_windows": 12, **sizes},
            "text": {"kind": "pieces", "max_tokens": 6, **sizes},
            "similarity": similarity,
            "embedding": 16,
        }
    )
    texts = [f"{name} {n}" for n in range(12) for name in ("Wört", "word")]
    DualEncoder.build(config, texts, 24, record={"languages": ["de", "en"]}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def dual_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dual_encoder(tmp_path_factory.mktemp("models") / "dual")
