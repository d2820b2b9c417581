"""Entries of a sentence index: a corpus's clips or its distinct texts, encoded by a dual encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from signatlas.corpus.format import Corpus
from signatlas.errors import FeatureError, IndexVersionError
from signatlas.features.store import FeatureStore
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.pose.attributes import attributes
from signatlas.retrieval.index_version import ROW_COLUMNS, ROW_SCHEMA, with_attributes
from signatlas.retrieval.tokens import TokenTable
from signatlas.similarity import Tokens

Kind = Literal["clips", "texts"]
Progress = Callable[[int], Any]
BATCH = 64


class Entries(NamedTuple):
    """Rows [N] of ``ROW_SCHEMA``, unit vectors float32 [N, E], and tokens where the model compares tokens."""

    rows: pa.Table
    vectors: np.ndarray
    tokens: TokenTable | None


def check_features(store: FeatureStore, corpus: Corpus, model: DualEncoder) -> None:
    """Raise FeatureError unless the features are of this corpus and fit the model."""
    if store.info.corpus_fingerprint != corpus.info.fingerprint:
        raise FeatureError(
            f"{store.path} contains features of another corpus ({store.info.corpus}) than {corpus.path}: "
            "compute them with 'signatlas features extract'"
        )
    check_model_features(store, corpus.info.fingerprint, model)


def check_model_features(store: FeatureStore, corpus_fingerprint: str, model: DualEncoder) -> None:
    """Raise FeatureError for features of another width, or other features of the training corpus, than the model's."""
    if store.info.width != model.features:
        raise FeatureError(
            f"{store.path} contains features of width {store.info.width}, the model takes {model.features}: "
            "give the features it was trained on"
        )
    trained = model.record.get("features_fingerprint")
    if trained and model.record.get("corpus_fingerprint") == corpus_fingerprint and trained != store.fingerprint:
        raise FeatureError(
            f"{store.path} contains features that differ from those in training ({model.record.get('features')}): give "
            "those, or compute them again with the same sign encoders"
        )


def clip_rows(metadata: Sequence[dict[str, Any]]) -> pa.Table:
    """Return one row per clip, without what is computed from poses."""
    return pa.Table.from_pylist(list(metadata), schema=ROW_SCHEMA)


def recording_rows(corpus: Corpus, metadata: Sequence[dict[str, Any]]) -> pa.Table:
    """Return one row per clip, with hands, movement and location from the poses in the corpus."""
    chosen = {row["id"] for row in metadata}
    computed = {
        row["id"]: attributes(poses, row["width"], row["height"])
        for row, poses in corpus.where(lambda row: row["id"] in chosen).poses()
    }
    return with_attributes(clip_rows(metadata), [computed[row["id"]] for row in metadata])


def text_rows(metadata: Sequence[dict[str, Any]], languages: tuple[str, ...] | None = None) -> pa.Table:
    """Return one row per distinct text and language, with the data of its first clip by id; ids such as `clip#de`."""
    seen: set[tuple[str, str]] = set()
    rows = []
    for row in sorted(metadata, key=lambda row: str(row["id"])):
        counts: dict[str, int] = {}
        for text in row["texts"] or []:
            language = text["language"]
            counts[language] = number = counts.get(language, 0) + 1
            if (languages and language not in languages) or (language, text["text"]) in seen:
                continue
            seen.add((language, text["text"]))
            id = f"{row['id']}#{language}" + (f"-{number}" if number > 1 else "")
            rows.append({**{name: row[name] for name in ROW_COLUMNS}, "id": id, "texts": [text]})
    return pa.Table.from_pylist(rows, schema=ROW_SCHEMA)


def encode(
    model: DualEncoder, kind: Kind, rows: pa.Table, store: FeatureStore | None, progress: Progress | None = None
) -> Entries:
    """Encode ``rows``; clips need their features. Raises IndexVersionError when there is nothing to encode."""
    if len(rows) == 0:
        raise IndexVersionError(f"nothing to index: no {kind} were selected; see --source, --split and --language")
    if kind == "texts":
        batches = _text_batches(model, [texts[0]["text"] for texts in rows["texts"].to_pylist()])
    elif store is not None:
        batches = clip_batches(model, store, rows["id"].to_pylist())
    else:
        raise IndexVersionError("clips are indexed from their features: pass them with --features")
    vectors: list[np.ndarray] = []

    def pool() -> Iterator[Tokens]:
        for batch in batches:
            vectors.append(model.pooled(batch).numpy())
            if progress:
                progress(sum(map(len, vectors)))
            yield batch

    if model.config.similarity.kind == "fine_grained":
        tokens: TokenTable | None = TokenTable.from_batches(pool())
    else:
        tokens = None
        for _ in pool():
            pass
    return Entries(rows, np.concatenate(vectors), tokens)


def clip_batches(model: DualEncoder, store: FeatureStore, ids: Sequence[str]) -> Iterator[Tokens]:
    """Yield encoded clips, ``BATCH`` at a time. Raises FeatureError for an id without features."""
    positions, sign = store.positions(ids), model.config.sign
    for start in range(0, len(positions), BATCH):
        batch = positions[start : start + BATCH]
        yield model.embed_features([store.batch(batch, alpha=sign.alpha, limit=sign.max_windows)])


def _text_batches(model: DualEncoder, texts: Sequence[str]) -> Iterator[Tokens]:
    for start in range(0, len(texts), BATCH):
        yield model.embed_texts(texts[start : start + BATCH])
