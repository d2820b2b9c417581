"""Snapshots written without Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from signatlas.corpus.format import Clip, Corpus, clips_to_table
from signatlas.models.sign_encoder import SignEncoder
from signatlas.retrieval import snapshot
from signatlas.retrieval.manifest import CorpusPart
from signatlas.retrieval.snapshot import Snapshot


@pytest.fixture(scope="session")
def clips(small_corpus: Path) -> list[Clip]:
    return list(Corpus.open(small_corpus))


@pytest.fixture(scope="session")
def vectors(clips: list[Clip], small_model: Path) -> np.ndarray:
    return SignEncoder.from_pretrained(small_model).embed_clips(clips)


@pytest.fixture(scope="session")
def rows(clips: list[Clip]) -> pa.Table:
    return snapshot.as_rows([clips_to_table(clips)])


@pytest.fixture(scope="session")
def part(small_corpus: Path) -> CorpusPart:
    info = Corpus.open(small_corpus).info
    return CorpusPart(name=info.name, path=str(small_corpus), fingerprint=info.fingerprint, licence=info.licence,
                      sign_languages=info.sign_languages, synthetic=True)  # fmt: skip


@pytest.fixture
def write(vectors: np.ndarray, rows: pa.Table, small_model: Path, part: CorpusPart) -> Callable[..., Snapshot]:
    """Write the small corpus as a snapshot: ``write(root, shards=2)``."""

    def call(root: Path, **options: object) -> Snapshot:
        return snapshot.write(root, vectors, rows, model=small_model, corpus=part, **options)  # type: ignore[arg-type]

    return call
