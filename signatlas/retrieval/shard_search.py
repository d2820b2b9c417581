"""Search in some shards of an index version, with the metadata of the hits; merging of several such results.

A service runs one :class:`ShardSearch` in each process, a folder search one over all shards. Both give the same hits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from signatlas.errors import IndexVersionError
from signatlas.models.dual_encoder.config import SimilarityConfig
from signatlas.retrieval import faiss_index
from signatlas.retrieval.index_version import ROW_SCHEMA, IndexVersion
from signatlas.retrieval.shard import Ranked, Shard, merge
from signatlas.retrieval.two_stage import CANDIDATES, Accept, Query, Side, rank

GroupBy = Literal["gloss"]
Row = dict[str, Any]  # an entry's columns of ROW_SCHEMA


class ShardQuery(NamedTuple):
    """One query: unit vectors float32 [S, E], the best of which counts (both signing hands), and what is wanted.

    ``tokens`` float32 [T, E] are compared with those of ``candidates`` entries of each shard; None compares vectors.
    ``leave_out`` is the id of an entry that is no hit; ``language`` that of the texts to find.
    """

    vectors: np.ndarray
    k: int
    tokens: np.ndarray | None = None
    side: Side = "text"
    candidates: int = CANDIDATES
    leave_out: str | None = None
    language: str | None = None
    group_by: GroupBy | None = None


class ShardResult(NamedTuple):
    """The best (score, row) of a query by score descending, and the number of pairs scored token by token.

    Operations of the index's log up to ``position`` are applied.
    """

    hits: list[tuple[float, Row]]
    scored: int = 0
    position: int = 0


class ShardSearch:
    """Searches the shards with the given numbers, by default all of them. Raises IndexVersionError."""

    def __init__(self, index_version: IndexVersion, numbers: Sequence[int] | None = None, *, verify: bool = False):
        manifest = index_version.manifest
        numbers = range(len(manifest.shards)) if numbers is None else numbers
        self.version, self.confidence = manifest.version, manifest.confidence
        self.names = [manifest.shards[n].name for n in numbers]
        self.shards = [index_version.shard(n, verify=verify) for n in numbers]
        self.similarity = _similarity(index_version) if manifest.tokens else None
        tables = [pq.read_table(index_version.path / name / "ids.parquet") for name in self.names]
        self._set_rows(pa.concat_tables(tables or [ROW_SCHEMA.empty_table()]).combine_chunks())

    @classmethod
    def of_entries(cls, name: str, vectors: np.ndarray, rows: pa.Table) -> ShardSearch:
        """Return a search in entries that are in memory: unit vectors float32 [N, E], rows [N] with ascending ids."""
        search = cls.__new__(cls)
        search.names, search.similarity = [name], None
        search.shards = [Shard(name, faiss_index.build(vectors), rows["id"].to_pylist())]
        search._set_rows(rows)
        return search

    def _set_rows(self, rows: pa.Table) -> None:
        self.rows = rows
        self._positions = {id: position for position, id in enumerate(rows["id"].to_pylist())}
        self.hidden: Set[str] = frozenset()  # ids of entries that were removed since: they are no hits

    def __contains__(self, id: str) -> bool:
        return id in self._positions and id not in self.hidden

    def ids(self) -> Set[str]:
        """Return the ids of all entries, hidden ones too."""
        return self._positions.keys()

    def row(self, id: str) -> Row:
        """Return an entry's columns. Raises KeyError."""
        row: Row = self.rows.slice(self._positions[id], 1).to_pylist()[0]
        return row

    def search(self, queries: Sequence[ShardQuery]) -> list[ShardResult]:
        """Return the best entries of each query; a result does not depend on the other queries."""
        results: list[ShardResult | None] = [None] * len(queries)
        together = [i for i, q in enumerate(queries) if not self._by_tokens(q) and not self._restricted(q)]
        for k in {queries[i].k for i in together}:
            chosen = [i for i in together if queries[i].k == k]
            for i, ranked in zip(chosen, self._nearest([queries[i] for i in chosen], k), strict=True):
                results[i] = ShardResult(self._with_rows(ranked))
        for i, query in enumerate(queries):
            if results[i] is None:
                results[i] = self._search_one(query)
        return [result for result in results if result is not None]

    def _restricted(self, query: ShardQuery) -> bool:
        wanted = query.leave_out is not None or query.language is not None or query.group_by is not None
        return wanted or bool(self.hidden)

    def _by_tokens(self, query: ShardQuery) -> bool:
        return query.tokens is not None and self.similarity is not None

    def _nearest(self, queries: Sequence[ShardQuery], k: int) -> list[Ranked]:
        """Return the ``k`` best of queries that only compare vectors, with one call to FAISS for all of them."""
        vectors = np.concatenate([query.vectors for query in queries])
        sizes = [len(query.vectors) for query in queries]
        rankings = [shard.search(vectors, k) for shard in self.shards]
        ends = np.cumsum(sizes)
        return [
            merge([ranking[v] for ranking in rankings for v in range(end - size, end)], k)
            for size, end in zip(sizes, ends.tolist(), strict=True)
        ]

    def _search_one(self, query: ShardQuery) -> ShardResult:
        accept, scored, k = self._accept(query), 0, query.k
        while True:
            rankings: list[Ranked] = []
            scored = 0
            for shard in self.shards:
                if query.tokens is not None and self.similarity is not None:
                    result = rank(
                        shard, Query(query.side, query.vectors[0], query.tokens), self.similarity, k,
                        query.candidates, accept,
                    )  # fmt: skip
                    scored += result.scored
                    rankings.append(result.ranked)
                else:
                    rankings += [_nearest(shard, vector, k, accept) for vector in query.vectors]
            hits = self._with_rows(merge(rankings, k))
            if query.group_by is None:
                return ShardResult(hits, scored)
            groups = best_of_each(hits, query.group_by)
            if len(groups) >= query.k or k >= sum(len(shard.ids) for shard in self.shards):
                return ShardResult(groups[: query.k], scored)
            k *= 4  # too many recordings of the same gloss: look deeper

    def _accept(self, query: ShardQuery) -> Accept | None:
        by_language = accept_language(query.language)
        if query.leave_out is None and not self.hidden:
            return by_language
        left_out, hidden = query.leave_out, self.hidden
        return lambda id: id != left_out and id not in hidden and (by_language is None or by_language(id))

    def _with_rows(self, ranked: Ranked) -> list[tuple[float, Row]]:
        positions = pa.array([self._positions[id] for id, _ in ranked], pa.int64())
        rows = self.rows.take(positions).to_pylist() if ranked else []
        return [(score, row) for (_, score), row in zip(ranked, rows, strict=True)]


def best_of_each(hits: Iterable[tuple[float, Row]], column: str) -> list[tuple[float, Row]]:
    """Return the first hit of each value of ``column``; a hit without a value is a group of its own."""
    seen: set[str] = set()
    groups = []
    for score, row in hits:
        value = row[column]
        if value is None or value not in seen:
            groups.append((score, row))
            seen.add(value)
    return groups


def merge_results(results: Iterable[ShardResult], k: int, group_by: GroupBy | None = None) -> ShardResult:
    """Return the best ``k`` of several shards' results; equal scores by id ascending, like :func:`shard.merge`."""
    results = list(results)
    hits = sorted((hit for result in results for hit in result.hits), key=lambda hit: (-hit[0], hit[1]["id"]))
    if group_by is not None:
        hits = best_of_each(hits, group_by)
    position = min((result.position for result in results), default=0)
    return ShardResult(hits[:k], sum(result.scored for result in results), position)


def accept_language(language: str | None) -> Accept | None:
    """Return a filter that accepts texts of a language by their id (`clip#de`, `clip#de-2`); None accepts all."""
    if language is None:
        return None
    return lambda id: id.rpartition("#")[2] in (language, *(f"{language}-{n}" for n in range(2, 10)))


def _nearest(shard: Shard, vector: np.ndarray, k: int, accept: Callable[[str], bool] | None) -> Ranked:
    """Return the ``k`` best accepted (id, score) of a shard by one vector."""
    depth = k if accept is None else k + 1
    while True:
        ranked = shard.search(vector[None], depth)[0]
        accepted = ranked if accept is None else [pair for pair in ranked if accept(pair[0])]
        if len(accepted) >= k or depth >= len(shard.ids):
            return accepted[:k]
        depth = min(4 * depth, len(shard.ids))


def _similarity(index_version: IndexVersion) -> SimilarityConfig:
    """Return the similarity of the index's model without loading its weights."""
    from signatlas.models import registry
    from signatlas.models.folder import parse_config

    path, raw = registry.read_config(index_version.path / "model", registry.DUAL_ENCODER)
    if "similarity" not in raw:
        raise IndexVersionError(f"{path}/config.json has no similarity: build the index again")
    return parse_config(path, SimilarityConfig, raw["similarity"])
