"""Build an index of isolated signs from a corpus and a sign encoder."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from signatlas.corpus.format import Corpus
from signatlas.errors import IndexVersionError
from signatlas.files import read_bytes, sha256_bytes
from signatlas.models import folder as model_folder
from signatlas.models.sign_encoder import SignEncoder
from signatlas.retrieval import index_version
from signatlas.retrieval.confidence import Recordings, Selection, select_recordings
from signatlas.retrieval.index_version import CorpusPart, IndexVersion
from signatlas.retrieval.live_search import fold
from signatlas.retrieval.operation_log.log import Log, log_location
from trainers.pipelines.embed import Embedded, collect, embed


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
    log: str | None = None,
    workers: int = 1,
    gpus: float = 0,
    progress: Callable[[int], Any] | None = None,
) -> IndexVersion:
    """Embed ``corpus`` (or some sources and splits of it) with Ray Data and write a version under ``out``.

    The operations of the index's log, or of that at ``log``, are folded in: signs that were added since are in the
    version, and what was removed is not. Needs a connected Ray. Raises CorpusError, ModelError, LogError or
    IndexVersionError, and then writes nothing.
    """
    opened = Corpus.open(corpus, verify=True)
    source_model = model_folder.locate(model)
    check_version(out, version)
    open_log(out, log)
    check_names("source", sources, {row["source"] for row in opened.metadata()}, opened.path)
    check_names("split", splits, set(opened.info.counts), opened.path)
    clips = opened.metadata()
    indexed = {
        row["id"]: row["gloss"]
        for row in clips
        if (not sources or row["source"] in sources) and (not splits or row["split"] in splits)
    }
    selection = select_recordings(clips, indexed)
    embedded = collect(
        embed(source_model, opened, sources=sources, splits=splits, mirrored=selection.ids, workers=workers, gpus=gpus),
        progress,
    )
    ids = embedded.rows["id"].to_pylist()
    entries = np.array([id in indexed for id in ids], bool)
    operations = open_log(out, log)
    vectors, rows = fold(
        embedded.vectors[entries],
        embedded.rows.filter(pa.array(entries)),
        operations,
        model_sha256=sha256_bytes(read_bytes(source_model / model_folder.WEIGHTS)),
        encoder=lru_cache(lambda: SignEncoder.from_pretrained(source_model)),
    )
    written = index_version.write(
        out,
        vectors,
        rows,
        model=source_model,
        corpus=CorpusPart.of(opened, sources, splits),
        factory=factory,
        shards=shards,
        version=version,
        calibration=_recordings(selection, embedded) if selection.ids else None,
        log_position=operations.end,
    )
    if activate:
        index_version.activate(out, written.version)
    return written


def check_version(out: str | os.PathLike[str], version: str | None) -> None:
    """Raise IndexVersionError if the version exists, before the work starts."""
    if version and (Path(out) / version).exists():
        raise IndexVersionError(f"{Path(out) / version} already exists: versions are immutable; choose another")


def open_log(out: str | os.PathLike[str], log: str | None) -> Log:
    """Return the log to fold in. Raises LogError where it lacks what the live version has: removals would be undone."""
    operations = Log.open(log_location(out, log))
    try:
        live = IndexVersion.open(out, verify=False)
    except IndexVersionError:  # none yet, or a damaged one that is built again
        return operations
    operations.require_reaches(live.manifest.log_position, live.version)
    return operations


def check_names(column: str, names: tuple[str, ...] | None, available: set[str], path: str) -> None:
    """Raise IndexVersionError for a source or split that the corpus does not have."""
    for name in names or ():
        if name not in available:
            raise IndexVersionError(f"{path} has no {column} '{name}', only {', '.join(sorted(available))}")


def _recordings(selection: Selection, embedded: Embedded) -> Recordings:
    """Return both sides of the recordings to calibrate with, as searches by either hand compare them."""
    ids = embedded.rows["id"].to_pylist()
    chosen = [n for n, id in enumerate(ids) if id in embedded.mirrored]
    sides = np.stack([embedded.vectors[chosen], np.stack([embedded.mirrored[ids[n]] for n in chosen])])
    return Recordings(selection, sides, embedded.rows["gloss"].take(chosen).to_pylist())
