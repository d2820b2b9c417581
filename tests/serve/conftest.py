"""A real service: Ray Serve on a free port with an index of three FAISS shards."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from serve.config import Limits, ServeConfig
from serve.service import start, stop
from signatlas.corpus.format import Corpus, clips_to_table
from signatlas.models.sign_encoder import SignEncoder
from signatlas.retrieval import index_version
from signatlas.retrieval.index_version import CorpusPart


@pytest.fixture(scope="module")
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def write_version() -> Callable[..., None]:
    return _write_version


def _write_version(root: Path, model: Path, corpus: Path, version: str, shards: int = 3) -> None:
    opened = Corpus.open(corpus)
    clips = list(opened)
    part = CorpusPart(name="small", path=str(corpus), fingerprint=opened.info.fingerprint, license="Apache-2.0",
                      sign_languages=("gsg",), synthetic=True)  # fmt: skip
    vectors = SignEncoder.from_pretrained(model).embed_clips(clips)
    index_version.write(
        root,
        vectors,
        index_version.as_rows([clips_to_table(clips)]),
        model=model,
        corpus=part,
        shards=shards,
        version=version,
    )


@pytest.fixture(scope="session")
def index_root(tmp_path_factory: pytest.TempPathFactory, small_model: Path, small_corpus: Path) -> Path:
    """An index with its own copy of the corpus; version v1 is live."""
    folder = tmp_path_factory.mktemp("service")
    shutil.copytree(small_corpus, folder / "corpus")
    _write_version(folder / "index", small_model, folder / "corpus", "v1")
    index_version.activate(folder / "index", "v1")
    return folder / "index"


@pytest.fixture(scope="module")
def config(index_root: Path, free_port: int) -> ServeConfig:
    limits = Limits(top_k=50, frames=100, body_bytes=2 << 20)
    return ServeConfig(index=str(index_root), port=free_port, limits=limits)


@pytest.fixture(scope="module")
def service(ray_session: None, config: ServeConfig) -> Iterator[httpx.Client]:
    start(config)
    with httpx.Client(base_url=f"http://127.0.0.1:{config.port}", timeout=30) as client:
        yield client
    stop()
