"""Build an index of clips or of texts from a corpus and a dual encoder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from signatlas.corpus.format import Corpus
from signatlas.errors import IndexVersionError, TextError
from signatlas.features.store import FeatureStore
from signatlas.models import folder as model_folder
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.models.sliding import own_encoders
from signatlas.retrieval import entries, index_version
from signatlas.retrieval.index_version import CorpusPart, FeaturesPart, IndexVersion
from trainers.pipelines.features import Progress, extract
from trainers.pipelines.index.signs import check_names, check_version


def build(
    model: str | os.PathLike[str],
    corpus: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    kind: entries.Kind = "clips",
    features: str | os.PathLike[str] | None = None,
    record_features: bool = True,
    languages: tuple[str, ...] | None = None,
    shards: int = 1,
    factory: str = "Flat",
    sources: tuple[str, ...] | None = None,
    splits: tuple[str, ...] | None = None,
    version: str | None = None,
    activate: bool = True,
    progress: Callable[[int], Any] | None = None,
) -> IndexVersion:
    """Encode the clips of ``corpus`` from their features, or its distinct texts, and write a version under ``out``.

    ``languages`` filters the texts. ``record_features`` stores the path of the features in the index; use False for
    temporary features. Raises CorpusError, ModelError, FeatureError, TextError or IndexVersionError, and then writes
    nothing.
    """
    opened = Corpus.open(corpus, verify=True)
    source_model = model_folder.locate(model)
    check_version(out, version)
    rows_to_index = _select_rows(opened, sources, splits)
    encoder = DualEncoder.from_pretrained(source_model)
    store = FeatureStore.open(features) if features else None
    if store is not None:
        entries.check_features(store, opened, encoder)
    if kind == "texts":
        _check_languages(languages, rows_to_index, opened.path)
        rows = entries.text_rows(rows_to_index, languages)
    else:
        rows = entries.recording_rows(opened, rows_to_index)
    encoded = entries.encode(encoder, kind, rows, store, progress)
    written = index_version.write(
        out,
        encoded.vectors,
        encoded.rows,
        model=source_model,
        corpus=CorpusPart.of(opened, sources, splits),
        factory=factory,
        shards=shards,
        version=version,
        kind=kind,
        tokens=encoded.tokens,
        features=_features_part(store) if store is not None and record_features else None,
    )
    if activate:
        index_version.activate(out, written.version)
    return written


@contextmanager
def temporary_features(
    model: str | os.PathLike[str],
    corpus: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    workers: int = 1,
    gpus: float = 0,
    progress: Progress | None = None,
) -> Iterator[Path]:
    """Yield a temporary folder in ``out`` with features of the corpus from the model's own sign encoders.

    Needs a connected Ray. Raises FeatureError if the model has no sign encoders.
    """
    folder = model_folder.locate(model)
    settings, encoders = own_encoders(folder, DualEncoder.from_pretrained(folder))
    Path(out).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".features-") as temporary:
        models = {stream: str(path) for stream, path in encoders.items()}
        target = Path(temporary) / "features"
        extract(
            models, Corpus.open(corpus), target, window=settings.window, stride=settings.stride or 1,
            limit=settings.limit, workers=workers, gpus=gpus, progress=progress,
        )  # fmt: skip
        yield target


def _select_rows(
    corpus: Corpus, sources: tuple[str, ...] | None, splits: tuple[str, ...] | None
) -> list[dict[str, Any]]:
    metadata = corpus.metadata()
    check_names("source", sources, {row["source"] for row in metadata}, corpus.path)
    check_names("split", splits, set(corpus.info.counts), corpus.path)
    return [r for r in metadata if (not sources or r["source"] in sources) and (not splits or r["split"] in splits)]


def _check_languages(languages: tuple[str, ...] | None, rows: list[dict[str, Any]], path: str) -> None:
    available = {text["language"] for row in rows for text in row["texts"] or []}
    if not available:
        raise IndexVersionError(f"nothing to index: the selected clips of {path} have no texts")
    for language in languages or ():
        if language not in available:
            raise TextError(f"{path} has no texts in '{language}', only in {', '.join(sorted(available))}")


def _features_part(store: FeatureStore) -> FeaturesPart:
    return FeaturesPart(path=str(store.path.absolute()), fingerprint=store.fingerprint, kind=store.info.kind)
