"""Nearest neighbors by inner product of unit vectors: FAISS with a fixed order of ties, and exact scores."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from signatlas.errors import IndexVersionError

if TYPE_CHECKING:
    import faiss

QUERY_BATCH = 32
# FAISS's last digits depend on the batch once it uses BLAS. For types that cannot be scored anew, smaller batches give
# one pair of vectors one score, so that a sharded index returns exactly what an unsharded one does.
QUERY_BATCH_WITHOUT_VECTORS = 16
# From this many queries on, a Flat index is searched by one matrix product: FAISS 1.15 reads all vectors once a query.
PRODUCT_QUERIES = 4
PRODUCT_ROWS = 65_536  # scores of so many entries are in memory at a time
RESCORED_ELEMENTS = 1 << 22  # coordinates of candidates that are scored at a time, in float64


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


def flat_vectors(index: faiss.Index) -> np.ndarray | None:
    """Return the vectors float32 [N, E] of a Flat index, without a copy and only while it lives; None for others."""
    import faiss

    if not isinstance(index, faiss.IndexFlat) or index.ntotal == 0:
        return None
    vectors: np.ndarray = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)
    return vectors


def search(
    index: faiss.Index, queries: np.ndarray, k: int, vectors: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``k`` best of each query: scores float32 [Q, k'] and positions int64 [Q, k'], k' = min(k, size).

    Ordered by score descending, equal scores by position ascending, also where a tie crosses rank k. An approximate
    index that finds fewer ends its rows with score -inf and position -1.

    ``vectors`` float32 [N, E] are those of a Flat index (by default its own: a GPU's index has none here). With them a
    score is the inner product rounded once, from float64: it depends on nothing but the pair, neither on the other
    queries nor on the device that found the candidates.
    """
    queries = np.ascontiguousarray(queries, np.float32)
    vectors = flat_vectors(index) if vectors is None else vectors
    k = min(k, index.ntotal)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    positions = np.full((len(queries), k), -1, np.int64)
    if k == 0:
        return scores, positions
    batch = QUERY_BATCH if vectors is not None else QUERY_BATCH_WITHOUT_VECTORS
    for start in range(0, len(queries), batch):
        rows = np.arange(start, min(start + batch, len(queries)))
        depth = min(k + 1, index.ntotal)
        while len(rows):
            found_scores, found = _candidates(index, vectors, queries[rows], depth)
            rest = found_scores[:, -1]  # what was not found scores no more
            if vectors is not None:
                # But for the rounding of float32 sums; the entries are unit vectors.
                rest = rest + index.d * np.finfo(np.float32).eps * np.linalg.norm(queries[rows], axis=1)
                found_scores = _exact_scores(vectors, queries[rows], found)
            ordered_scores, ordered_positions = _ordered(found_scores, found)
            # An entry that was not found may tie with rank k and come first: search deeper until none can.
            unsure = (ordered_scores[:, k - 1] <= rest) & (rest > -np.inf) & (depth < index.ntotal)
            scores[rows], positions[rows] = ordered_scores[:, :k], ordered_positions[:, :k]
            rows, depth = rows[unsure], min(2 * depth, index.ntotal)
    return scores, positions


def _candidates(
    index: faiss.Index, vectors: np.ndarray | None, queries: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores, as rounded as they come, and positions of ``depth`` entries a query, the best first."""
    if len(queries) < PRODUCT_QUERIES or flat_vectors(index) is None or vectors is None:
        found: tuple[np.ndarray, np.ndarray] = index.search(queries, depth)
        return found
    import torch

    left, entries = torch.from_numpy(queries), torch.from_numpy(vectors)
    best: list[tuple[torch.Tensor, torch.Tensor]] = []
    for start in range(0, len(vectors), PRODUCT_ROWS):
        products = left @ entries[start : start + PRODUCT_ROWS].T
        block_scores, block_positions = products.topk(min(depth, products.shape[1]))
        best.append((block_scores, block_positions + start))
    block_scores, block_positions = (torch.cat(parts, 1) for parts in zip(*best, strict=True))
    top_scores, order = block_scores.topk(depth)
    return top_scores.numpy(), block_positions.gather(1, order).numpy()


def _exact_scores(vectors: np.ndarray, queries: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the inner products of queries and positions [Q, D], summed in float64 and rounded to float32 [Q, D]."""
    scores = np.empty(positions.shape, np.float32)
    step = max(1, RESCORED_ELEMENTS // (positions.shape[1] * vectors.shape[1]))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        # Sums along the last axis, in one order for every pair; a matrix product has no such promise.
        scores[rows] = np.multiply(vectors[positions[rows]], queries[rows, None], dtype=np.float64).sum(-1)
    return scores


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
