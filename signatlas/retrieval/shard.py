"""One shard of an index, FAISS and ids in memory and tokens memory-mapped, and the merging of shards' rankings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from signatlas.errors import IndexVersionError
from signatlas.retrieval import faiss_index
from signatlas.retrieval.clusters import CLUSTER_FOLDER, ClusterTable
from signatlas.retrieval.faiss_index import DEFAULT_EFFORT, Effort
from signatlas.retrieval.tokens import SEGMENT_FOLDER, TOKENS, TokenTable

Ranked = list[tuple[str, float]]  # (id, score), by score descending, equal scores by id ascending


class Shard:
    """Vectors whose position in ``ids`` is their position in ``index``, ``tokens`` and ``clusters``; ids ascend.

    A shard that was written before there were clusters has ``segments`` instead.
    """

    def __init__(
        self,
        name: str,
        index: Any,
        ids: list[str],
        tokens: TokenTable | None = None,
        segments: TokenTable | None = None,
        clusters: ClusterTable | None = None,
    ):
        self.name, self.index, self.ids, self.tokens = name, index, ids, tokens
        self.segments, self.clusters = segments, clusters
        self._cpu_index = index

    @classmethod
    def load(cls, folder: Path) -> Shard:
        """Load the shard in a folder. Raises IndexVersionError, naming the shard, when its files do not fit."""
        index = faiss_index.read(folder / "index.faiss")
        ids = pq.read_table(folder / "ids.parquet", columns=["id"])["id"].to_pylist()
        if len(ids) != index.ntotal:
            raise IndexVersionError(
                f"{folder.name} is refused: {index.ntotal} vectors but {len(ids)} ids; build the index again"
            )
        if not (folder / TOKENS).is_file():
            return cls(folder.name, index, ids)
        tokens, segments, clusters = TokenTable.open(folder, folder.name), None, None
        if (folder / CLUSTER_FOLDER).is_dir():
            clusters = ClusterTable.open(folder / CLUSTER_FOLDER, folder.name)
        else:
            segments = TokenTable.open(folder / SEGMENT_FOLDER, folder.name)
        for table in (tokens, segments, clusters):
            if table is not None and len(table) != len(ids):
                raise IndexVersionError(
                    f"{folder.name} is refused: {len(table)} entries with tokens, {len(ids)} ids; build the index again"
                )
        return cls(folder.name, index, ids, tokens, segments, clusters)

    def move_to_gpu(self) -> None:
        """Let a GPU find the candidates; vectors that are scored anew stay in memory. Raises IndexVersionError."""
        self.index = faiss_index.to_gpu(self._cpu_index)

    def nearest(
        self, vectors: np.ndarray, k: int, allowed: np.ndarray | None = None, effort: Effort = DEFAULT_EFFORT
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and positions of the ``k`` best at positions that are ``allowed`` bool [N] (default: all).

        As :func:`faiss_index.search`. What is allowed is searched by the CPU, also where a GPU has the index.
        """
        index = self.index if allowed is None else self._cpu_index
        vectors_of_index = faiss_index.flat_vectors(self._cpu_index)
        return faiss_index.search(index, vectors, k, vectors_of_index, allowed=allowed, effort=effort)

    def search(
        self, vectors: np.ndarray, k: int, allowed: np.ndarray | None = None, effort: Effort = DEFAULT_EFFORT
    ) -> list[Ranked]:
        """Return the ``k`` best (id, score) of each query of float32 [Q, E], of the ids that are ``allowed`` [N]."""
        scores, positions = self.nearest(vectors, k, allowed, effort)
        return [
            [(self.ids[p], s) for p, s in zip(query_positions, query_scores, strict=True) if p >= 0]
            for query_positions, query_scores in zip(positions.tolist(), scores.tolist(), strict=True)
        ]


def merge(rankings: Iterable[Sequence[tuple[str, float]]], k: int) -> Ranked:
    """Return the best ``k`` (id, score) of several rankings; an id that occurs twice keeps its best score.

    Deterministic: the same neighbors, however they are distributed over rankings, give the same list.
    """
    best: dict[str, float] = {}
    for ranking in rankings:
        for id, score in ranking:
            if score > best.get(id, float("-inf")):
                best[id] = score
    return sorted(best.items(), key=lambda item: (-item[1], item[0]))[:k]
