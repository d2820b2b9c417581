"""Nearest neighbors by inner product of unit vectors: FAISS with a fixed order of ties."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from signatlas.errors import IndexVersionError

if TYPE_CHECKING:
    import faiss

# From 20 queries on FAISS uses BLAS, whose last digits depend on a vector's position in its block. Smaller batches
# give one pair of vectors one score, so that a sharded index returns exactly what an unsharded one does.
QUERY_BATCH = 16


def build(vectors: np.ndarray, factory: str = "Flat") -> faiss.Index:
    """Build an inner product index over float32 [N, E] unit vectors, trained where ``factory`` needs it.

    ``factory`` is any FAISS index_factory string: Flat, HNSW32, IVF256,Flat ... Raises IndexVersionError when FAISS
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
        raise IndexVersionError(
            f"FAISS cannot build '{factory}' over {len(vectors)} vectors ({_reason(error)}): choose another --factory"
        ) from error
    return index


def search(index: faiss.Index, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``k`` best of each query: scores float32 [Q, k'] and positions int64 [Q, k'], k' = min(k, size).

    Ordered by score descending, equal scores by position ascending, also where a tie crosses rank k. An approximate
    index that finds fewer ends its rows with score -inf and position -1.
    """
    queries = np.ascontiguousarray(vectors, np.float32)
    k = min(k, index.ntotal)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    positions = np.full((len(queries), k), -1, np.int64)
    if k == 0:
        return scores, positions
    for start in range(0, len(queries), QUERY_BATCH):
        rows = np.arange(start, min(start + QUERY_BATCH, len(queries)))
        depth = min(k + 1, index.ntotal)
        while len(rows):
            ordered_scores, ordered_positions = _ordered(*index.search(queries[rows], depth))
            # A tie at rank k may continue with a lower position: search deeper until it ends.
            kth, last = ordered_scores[:, k - 1], ordered_scores[:, -1]
            tied = (kth == last) & (last > -np.inf) & (depth < index.ntotal)
            scores[rows], positions[rows] = ordered_scores[:, :k], ordered_positions[:, :k]
            rows, depth = rows[tied], min(2 * depth, index.ntotal)
    return scores, positions


def write(index: faiss.Index, path: str | os.PathLike[str]) -> None:
    """Write an index to a file."""
    import faiss

    faiss.write_index(index, os.fspath(path))


def read(path: str | os.PathLike[str]) -> Any:
    """Read an index from a file. Raises IndexVersionError for a file that FAISS cannot read."""
    import faiss

    try:
        return faiss.read_index(os.fspath(path))
    except RuntimeError as error:
        raise IndexVersionError(
            f"{os.fspath(path)} cannot be read ({_reason(error)}): build the index again"
        ) from error


def num_gpus() -> int:
    """Return the number of GPUs that FAISS can use; 0 for faiss-cpu."""
    import faiss

    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def to_gpu(index: faiss.Index, device: int = 0) -> Any:
    """Copy an index to a GPU. Raises IndexVersionError without faiss-gpu, or for a type that a GPU does not hold."""
    import faiss

    if not hasattr(faiss, "StandardGpuResources"):
        raise IndexVersionError("this faiss computes on the CPU only: install faiss-gpu (make setup EXTRA=gpu)")
    try:
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), device, index)
    except RuntimeError as error:
        raise IndexVersionError(f"the index does not fit onto GPU {device}: {_reason(error)}") from error


def _ordered(scores: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores = np.where(positions < 0, np.float32(-np.inf), scores)
    order = np.lexsort((positions, -scores), axis=1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)


def _reason(error: RuntimeError) -> str:
    """Return the last part of a FAISS message, without its C++ source line."""
    return str(error).strip().splitlines()[-1].split("Error: ")[-1]
