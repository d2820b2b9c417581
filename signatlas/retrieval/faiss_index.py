"""Nearest neighbors by inner product of unit vectors: FAISS with a fixed order of ties, and exact scores."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

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
# Up to so many allowed entries of an index other than Flat are all scored; of more, the index finds the best.
SCANNED_ENTRIES = 10_000
DEFAULT_EF, MAX_DEFAULT_EF = 256, 2048
COPIED_SHARE = 0.1  # of a block of vectors; see _scan
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


# (queries [Q, E], depth) -> scores and positions [Q, depth], the best first, as rounded as they come
Candidates = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


class Effort(NamedTuple):
    """How much of an approximate index a search looks at; None is the default, and a Flat index looks at everything.

    ``nprobe`` is the number of lists of an IVF index (default: :func:`default_nprobe`), ``ef`` that of entries an HNSW
    index keeps in view (``DEFAULT_EF``); where only some entries are allowed, the defaults are larger. More gives
    better recall and takes more time.
    """

    nprobe: int | None = None
    ef: int | None = None


DEFAULT_EFFORT = Effort()


def default_nprobe(lists: int) -> int:
    """Return the number of lists that are searched by default: an eighth of them, at least eight."""
    return min(lists, max(8, lists // 8))


def search(
    index: faiss.Index,
    queries: np.ndarray,
    k: int,
    vectors: np.ndarray | None = None,
    *,
    allowed: np.ndarray | None = None,
    effort: Effort = DEFAULT_EFFORT,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``k`` best of each query: scores float32 [Q, k'] and positions int64 [Q, k'], k' = min(k, size).

    Ordered by score descending, equal scores by position ascending, also where a tie crosses rank k. An approximate
    index that finds fewer ends its rows with score -inf and position -1.

    ``vectors`` float32 [N, E] are those of a Flat index (by default its own: a GPU's index has none here). With them a
    score is the inner product rounded once, from float64: it depends on nothing but the pair, neither on the other
    queries nor on the device that found the candidates.

    ``allowed`` bool [N] are the positions that may be found; the size is then their number. With ``vectors``, the
    result is that of an exhaustive search without the others, to the last bit. Of another index, up to
    ``SCANNED_ENTRIES`` allowed entries are all scored, from their reconstructed vectors and like those of a Flat index;
    more are searched by the index.
    """
    queries = np.ascontiguousarray(queries, np.float32)
    vectors = flat_vectors(index) if vectors is None else vectors
    count = index.ntotal if allowed is None else int(np.count_nonzero(allowed))
    if allowed is None or count == index.ntotal:
        parameters = search_parameters(index, effort)
        return _search(index, queries, k, count, vectors, lambda q, d: _candidates(index, vectors, q, d, parameters))
    if vectors is not None:
        find = _allowed_candidates(index, vectors, allowed)
        return _search(index, queries, k, count, vectors, find)
    parameters = search_parameters(index, effort, allowed)
    if count <= SCANNED_ENTRIES or parameters is None:
        positions = np.flatnonzero(allowed)
        some = reconstructed(index, positions)
        if some is not None:
            scores, found = _search(index, queries, k, count, some, lambda q, d: _scan(some, q, d))
            return scores, positions[found]
    if parameters is None:
        return _search(index, queries, k, count, None, lambda q, d: _everything(index, q, d, allowed))
    return _search(index, queries, k, count, None, lambda q, d: _candidates(index, None, q, d, parameters))


def _search(
    index: faiss.Index,
    queries: np.ndarray,
    k: int,
    size: int,
    vectors: np.ndarray | None,
    candidates: Candidates,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``k`` best of ``size`` entries; ``candidates(queries, depth)`` finds the best ``depth`` roughly."""
    k = min(k, size)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    positions = np.full((len(queries), k), -1, np.int64)
    if k == 0:
        return scores, positions
    batch = QUERY_BATCH if vectors is not None else QUERY_BATCH_WITHOUT_VECTORS
    for start in range(0, len(queries), batch):
        rows = np.arange(start, min(start + batch, len(queries)))
        depth = min(k + 1, size)
        while len(rows):
            found_scores, found = candidates(queries[rows], depth)
            # What was not found scores no more; an approximate index that finds too few will not find more.
            rest = np.where(found[:, -1] >= 0, found_scores[:, -1], np.float32(-np.inf))
            if vectors is not None:
                # But for the rounding of float32 sums; the entries are unit vectors.
                rest = rest + index.d * np.finfo(np.float32).eps * np.linalg.norm(queries[rows], axis=1)
                found_scores = _exact_scores(vectors, queries[rows], found)
            ordered_scores, ordered_positions = _ordered(found_scores, found)
            # An entry that was not found may tie with rank k and come first: search deeper until none can.
            unsure = (ordered_scores[:, k - 1] <= rest) & (rest > -np.inf) & (depth < size)
            scores[rows], positions[rows] = ordered_scores[:, :k], ordered_positions[:, :k]
            rows, depth = rows[unsure], min(2 * depth, size)
    return scores, positions


def _candidates(
    index: faiss.Index,
    vectors: np.ndarray | None,
    queries: np.ndarray,
    depth: int,
    parameters: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores, as rounded as they come, and positions of ``depth`` entries a query, the best first."""
    if len(queries) < PRODUCT_QUERIES or flat_vectors(index) is None or vectors is None:
        found: tuple[np.ndarray, np.ndarray] = (
            index.search(queries, depth) if parameters is None else index.search(queries, depth, params=parameters)
        )
        return found
    return _scan(vectors, queries, depth)


def _allowed_candidates(index: faiss.Index, vectors: np.ndarray, allowed: np.ndarray) -> Candidates:
    """Return how to find candidates among the allowed vectors of a Flat index."""
    positions = np.flatnonzero(allowed)
    parameters = _selecting(allowed) if flat_vectors(index) is not None else None

    def find(queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        if parameters is None or len(queries) >= PRODUCT_QUERIES:
            return _scan(vectors, queries, depth, positions)
        found: tuple[np.ndarray, np.ndarray] = index.search(queries, depth, params=parameters)
        return found

    return find


def _scan(
    vectors: np.ndarray, queries: np.ndarray, depth: int, positions: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and positions of the best ``depth`` of the vectors [N, E], or of those at ``positions``.

    They are found by matrix products of float32, over blocks of ``PRODUCT_ROWS`` vectors. To copy a few of a block
    together is faster than to compare with all of it; to copy many is slower.
    """
    import torch

    left, entries = torch.from_numpy(queries), torch.from_numpy(vectors)
    best: list[tuple[torch.Tensor, torch.Tensor]] = []
    for start in range(0, len(vectors), PRODUCT_ROWS):
        block = entries[start : start + PRODUCT_ROWS]
        if positions is None:
            products = left @ block.T
        else:
            first, end = np.searchsorted(positions, (start, start + len(block)))
            chosen = torch.from_numpy(positions[first:end] - start)
            if len(chosen) == 0:
                continue
            few = len(chosen) < COPIED_SHARE * len(block)
            products = left @ block[chosen].T if few else (left @ block.T)[:, chosen]
        block_scores, block_positions = products.topk(min(depth, products.shape[1]))
        best.append((block_scores, start + (block_positions if positions is None else chosen[block_positions])))
    block_scores, block_positions = (torch.cat(parts, 1) for parts in zip(*best, strict=True))
    top_scores, order = block_scores.topk(depth)
    return top_scores.numpy(), block_positions.gather(1, order).numpy()


def _everything(
    index: faiss.Index, queries: np.ndarray, depth: int, allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and positions of the best ``depth`` allowed entries, of an index that can only rank all of them."""
    scores, positions = index.search(queries, index.ntotal)
    positions = np.where(allowed[positions], positions, -1)
    ordered_scores, ordered_positions = _ordered(scores, positions)
    return ordered_scores[:, :depth], ordered_positions[:, :depth]


def reconstructed(index: faiss.Index, positions: np.ndarray) -> np.ndarray | None:
    """Return the vectors float32 [P, E] at ``positions`` as the index holds them; None where it does not tell."""
    import faiss

    try:
        inverted = faiss.try_extract_index_ivf(index)
        if inverted is not None and isinstance(faiss.downcast_index(inverted), faiss.IndexIVFFastScan):
            return None  # FAISS 1.15 crashes for one that was read from a file
        if inverted is not None and inverted.direct_map.no():
            inverted.make_direct_map()
        vectors: np.ndarray = index.reconstruct_batch(positions)
    except RuntimeError:
        return None
    return vectors


def _selecting(allowed: np.ndarray) -> Any:
    """Return search parameters that select the positions that are true in ``allowed`` [N], for a Flat index."""
    import faiss as typed

    faiss: Any = typed
    return faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little")))


def search_parameters(index: faiss.Index, effort: Effort, allowed: np.ndarray | None = None) -> Any:
    """Return the search parameters of an IVF or HNSW index, also inside a transform or a refinement; None of others.

    By default, a search among the share s of all entries looks at 1/s times as much of the index.
    """
    import faiss as typed

    faiss: Any = typed  # its type hints lack the parameters' fields
    selected, share = {}, 1.0
    if allowed is not None:
        selected = {"sel": faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))}
        share = max(float(allowed.mean()), 1 / len(allowed))
    if isinstance(index, faiss.IndexIVF):
        nprobe = effort.nprobe or math.ceil(default_nprobe(index.nlist) / share)
        return faiss.SearchParametersIVF(nprobe=min(nprobe, index.nlist), **selected)
    if isinstance(index, faiss.IndexHNSW):
        ef = effort.ef or min(math.ceil(DEFAULT_EF / share), MAX_DEFAULT_EF)
        return faiss.SearchParametersHNSW(efSearch=ef, **selected)
    if isinstance(index, faiss.IndexPreTransform):
        inner = search_parameters(faiss.downcast_index(index.index), effort, allowed)
        return None if inner is None else faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexRefine):
        inner = search_parameters(faiss.downcast_index(index.base_index), effort, allowed)
        return None if inner is None else faiss.IndexRefineSearchParameters(base_index_params=inner, **selected)
    return None


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
    inverted = faiss.try_extract_index_ivf(index)
    if inverted is not None:
        inverted.nprobe = default_nprobe(inverted.nlist)  # the copy has this one, whatever a request asks for
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
