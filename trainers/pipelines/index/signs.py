"""Build an index version from a corpus and a model."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from signatlas.corpus.format import Corpus
from signatlas.errors import IndexVersionError
from signatlas.models import folder as model_folder
from signatlas.retrieval import index_version
from signatlas.retrieval.confidence import LEAST_ABSENT
from signatlas.retrieval.index_version import CorpusPart, IndexVersion
from trainers.pipelines.embed import collect, embedded


def build(
    model: str | os.PathLike[str],
    corpus: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    shards: int = 1,
    factory: str = "Flat",
    sources: tuple[str, ...] | None = None,
    splits: tuple[str, ...] | None = None,
    version: str | None = None,
    activate: bool = True,
    workers: int = 1,
    gpus: float = 0,
    progress: Callable[[int], Any] | None = None,
) -> IndexVersion:
    """Embed ``corpus`` (or some sources and splits of it) with Ray Data and write a version under ``out``.

    Needs a connected Ray. Raises CorpusError, ModelError or IndexVersionError; then nothing was written.
    """
    opened = Corpus.open(corpus, verify=True)
    source_model = model_folder.locate(model)
    check_version(out, version)
    check_names("source", sources, {row["source"] for row in opened.metadata()}, opened.path)
    check_names("split", splits, set(opened.info.counts), opened.path)
    vectors, rows = collect(
        embedded(source_model, opened, sources=sources, splits=splits, workers=workers, gpus=gpus), progress
    )
    absent = _absent(opened, set(rows["gloss"].to_pylist()))
    written = index_version.write(
        out,
        vectors,
        rows,
        model=source_model,
        corpus=corpus_part(opened, sources, splits),
        factory=factory,
        shards=shards,
        version=version,
        absent=collect(embedded(source_model, opened, ids=absent, workers=workers, gpus=gpus))[0] if absent else None,
    )
    if activate:
        index_version.activate(out, written.version)
    return written


def corpus_part(corpus: Corpus, sources: tuple[str, ...] | None, splits: tuple[str, ...] | None) -> CorpusPart:
    """What the manifest says of the corpus."""
    return CorpusPart(
        name=corpus.info.name,
        path=corpus.path if "://" in corpus.path else str(Path(corpus.path).absolute()),
        fingerprint=corpus.info.fingerprint,
        license=corpus.info.license,
        sign_languages=corpus.info.sign_languages,
        synthetic=corpus.info.synthetic,
        sources=sources,
        splits=splits,
    )


def check_version(out: str | os.PathLike[str], version: str | None) -> None:
    """Before the work, not after it. Raises IndexVersionError when the version exists."""
    if version and (Path(out) / version).exists():
        raise IndexVersionError(f"{Path(out) / version} already exists: versions are never changed; choose another")


def check_names(what: str, wanted: tuple[str, ...] | None, have: set[str], path: str) -> None:
    """Raises IndexVersionError for a source or split that the corpus does not have."""
    for name in wanted or ():
        if name not in have:
            raise IndexVersionError(f"{path} has no {what} '{name}', only {', '.join(sorted(have))}")


def _absent(corpus: Corpus, indexed: set[str | None], most: int = 1000) -> tuple[str, ...]:
    """Ids of at most ``most`` recordings whose sign the index lacks, evenly over the corpus; none if there are few."""
    ids = sorted(row["id"] for row in corpus.metadata() if row["gloss"] is not None and row["gloss"] not in indexed)
    if len(ids) < LEAST_ABSENT:
        return ()
    return tuple(ids[i * len(ids) // most] for i in range(most)) if len(ids) > most else tuple(ids)
