"""Nearest neighbors by inner product of unit vectors: a thin layer over FAISS with a fixed order of ties."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from signatlas.errors import SnapshotError

if TYPE_CHECKING:
    import faiss

# FAISS turns to BLAS at 20 queries, whose last digits depend on where a vector stands in its block. Smaller slices
# keep one score for one pair of vectors, so that a sharded index answers exactly as an unsharded one.
QUERIES_AT_ONCE = 16


def build(vectors: np.ndarray, factory: str = "Flat") -> faiss.Index:
    """An inner product index over float32 [N, E] unit vectors, trained where ``factory`` needs it.

    ``factory`` is any FAISS index_factory string: Flat, HNSW32, IVF256,Flat ... Raises SnapshotError when FAISS
    refuses it or ``vectors`` are too few to train it.
    """
    import faiss

    vectors = np.ascontiguousarray(vectors, np.float32)
    try:
        index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(vectors)
        index.add(vectors)
    except RuntimeError as error:
        raise SnapshotError(f"FAISS cannot build '{factory}' over {len(vectors)} vectors: {_reason(error)}") from error
    return index


def _reason(error: RuntimeError) -> str:
    """The last part of a FAISS message, without its C++ source line."""
    return str(error).strip().splitlines()[-1].split("Error: ")[-1]


def search(index: faiss.Index, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` best of each query: scores float32 [Q, k'] and positions int64 [Q, k'], k' = min(k, size).

    By score descending, equal scores by position ascending, also where a tie straddles rank k. An approximate
    index that finds fewer ends its rows with score -inf and position -1.
    """
    queries = np.ascontiguousarray(vectors, np.float32)
    k = min(k, index.ntotal)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    positions = np.full((len(queries), k), -1, np.int64)
    if k == 0:
        return scores, positions
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        chosen = np.arange(start, min(start + QUERIES_AT_ONCE, len(queries)))
        wanted = min(k + 1, index.ntotal)
        while len(chosen):
            found, places = _ordered(*index.search(queries[chosen], wanted))
            # Beyond a tie at rank k may stand a lower position with the same score: look further until it ends.
            open_end = (found[:, k - 1] == found[:, -1]) & (found[:, -1] > -np.inf) & (wanted < index.ntotal)
            scores[chosen], positions[chosen] = found[:, :k], places[:, :k]
            chosen, wanted = chosen[open_end], min(2 * wanted, index.ntotal)
    return scores, positions


def _ordered(scores: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores = np.where(positions < 0, np.float32(-np.inf), scores)
    order = np.lexsort((positions, -scores), axis=1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)


def write(index: faiss.Index, path: str | os.PathLike[str]) -> None:
    import faiss

    faiss.write_index(index, os.fspath(path))


def read(path: str | os.PathLike[str]) -> Any:
    """Raises SnapshotError for a file that FAISS cannot read."""
    import faiss

    try:
        return faiss.read_index(os.fspath(path))
    except RuntimeError as error:
        raise SnapshotError(f"{os.fspath(path)} cannot be read ({_reason(error)}); build the index again") from error
