"""Search in some shards of an index version, with the metadata of the hits; merging of several such results.

A service runs one :class:`ShardSearch` in each process, a folder search one over all shards. Both give the same hits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from signatlas.errors import IndexVersionError
from signatlas.models.dual_encoder.config import SimilarityConfig
from signatlas.retrieval import faiss_index
from signatlas.retrieval.faiss_index import Effort
from signatlas.retrieval.filters import Filter, MaskCache
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.shard import Ranked, Shard, merge
from signatlas.retrieval.two_stage import CANDIDATES, Query, Side, rank

GroupBy = Literal["gloss"]
KEPT_ROWS = 20_000  # Arrow needs 60 microseconds to make a row; about 20 MB
Row = dict[str, Any]  # an entry's columns of ROW_SCHEMA


class ShardQuery(NamedTuple):
    """One query: unit vectors float32 [S, E], the best of which counts (both signing hands), and what is wanted.

    ``tokens`` float32 [T, E] are compared with those of ``candidates`` entries of each shard; None compares vectors.
    ``leave_out`` is the id of an entry that is no hit; ``language`` that of a text of each hit. Hits meet the
    ``filter``. ``nprobe`` and ``ef`` are those of ``Effort``.
    """

    vectors: np.ndarray
    k: int
    tokens: np.ndarray | None = None
    side: Side = "text"
    candidates: int = CANDIDATES
    leave_out: str | None = None
    language: str | None = None
    group_by: GroupBy | None = None
    filter: Filter | None = None
    nprobe: int | None = None
    ef: int | None = None

    @property
    def effort(self) -> Effort:
        """How much of an approximate index is searched."""
        return Effort(self.nprobe, self.ef)


class ShardResult(NamedTuple):
    """The best (score, row) of a query by score descending, and the number of pairs scored token by token.

    Rows are shared with other results, and must not be changed.

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
        self._set_rows(index_version.shard_rows(self.names))

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
        self._ends = np.cumsum([len(shard.ids) for shard in self.shards])
        self._masks = MaskCache()
        self._read: dict[str, Row] = {}  # rows of the last hits
        self.hidden: Set[str] = frozenset()
        self._there: np.ndarray | None = None  # bool [N], None for all

    def hide(self, ids: Set[str]) -> None:
        """Leave out the entries with these ids, which were removed, from now on."""
        new = (ids & self._positions.keys()) - self.hidden
        if new:
            self.hidden = self.hidden | new
            self._there = np.ones(len(self.rows), bool)
            self._there[[self._positions[id] for id in self.hidden]] = False
            self._masks = MaskCache()

    def __contains__(self, id: str) -> bool:
        return id in self._positions and id not in self.hidden

    def row(self, id: str) -> Row:
        """Return an entry's columns. Raises KeyError."""
        row: Row = self.rows.slice(self._positions[id], 1).to_pylist()[0]
        return row

    def search(self, queries: Sequence[ShardQuery]) -> list[ShardResult]:
        """Return the best entries of each query; a result does not depend on the other queries."""
        results: list[ShardResult | None] = [None] * len(queries)
        together: dict[Any, list[int]] = defaultdict(list)
        for number, query in enumerate(queries):
            if self._by_tokens(query) or query.group_by is not None:
                results[number] = self._search_one(query)
            else:
                # One more, since an entry may be left out: a mask of its own would search for this query alone.
                depth = query.k + (query.leave_out is not None)
                together[depth, query.filter, query.language, query.effort].append(number)
        for (depth, filter, language, effort), chosen in together.items():
            vectors = [queries[n].vectors for n in chosen]
            for n, ranked in zip(chosen, self._nearest(vectors, depth, filter, language, effort), strict=True):
                hits = [pair for pair in ranked if pair[0] != queries[n].leave_out][: queries[n].k]
                results[n] = ShardResult(self._with_rows(hits))
        return [result for result in results if result is not None]

    def _by_tokens(self, query: ShardQuery) -> bool:
        return query.tokens is not None and self.similarity is not None

    def _nearest(
        self, queries: Sequence[np.ndarray], k: int, filter: Filter | None, language: str | None, effort: Effort
    ) -> list[Ranked]:
        """Return the ``k`` best entries by the vectors [S, E] of each query, with one search for all of them."""
        vectors = np.concatenate(queries)
        allowed = self._allowed(filter, language)
        rankings = [shard.search(vectors, k, some, effort) for shard, some in zip(self.shards, allowed, strict=True)]
        sizes = [len(query) for query in queries]
        return [
            merge([ranking[v] for ranking in rankings for v in range(end - size, end)], k)
            for size, end in zip(sizes, np.cumsum(sizes).tolist(), strict=True)
        ]

    def _search_one(self, query: ShardQuery) -> ShardResult:
        allowed, scored, k = self._allowed(query.filter, query.language, query.leave_out), 0, query.k
        size = sum(len(shard.ids) if a is None else int(a.sum()) for shard, a in zip(self.shards, allowed, strict=True))
        while True:
            rankings: list[Ranked] = []
            scored = 0
            for shard, some in zip(self.shards, allowed, strict=True):
                if query.tokens is not None and self.similarity is not None:
                    result = rank(
                        shard, Query(query.side, query.vectors[0], query.tokens), self.similarity, k,
                        query.candidates, some, query.effort,
                    )  # fmt: skip
                    scored += result.scored
                    rankings.append(result.ranked)
                else:
                    rankings += shard.search(query.vectors, k, some, query.effort)
            hits = self._with_rows(merge(rankings, k))
            if query.group_by is None:
                return ShardResult(hits, scored)
            groups = best_of_each(hits, query.group_by)
            if len(groups) >= query.k or k >= size:
                return ShardResult(groups[: query.k], scored)
            k *= 4  # too many recordings of the same gloss: look deeper

    def _allowed(
        self, filter: Filter | None, language: str | None, leave_out: str | None = None
    ) -> list[np.ndarray | None]:
        """Return for each shard which of its entries may be hits, bool [N], or None for all of them."""
        meets = self._masks.mask(self.rows, filter, language, self._there)
        if leave_out in self._positions:
            meets = np.ones(len(self.rows), bool) if meets is None else meets.copy()
            meets[self._positions[leave_out]] = False
        if meets is None or not self.shards:
            return [None] * len(self.shards)
        return list(np.split(meets, self._ends[:-1]))

    def _with_rows(self, ranked: Ranked) -> list[tuple[float, Row]]:
        new = [id for id, _ in ranked if id not in self._read]
        if new:
            if len(self._read) + len(new) > KEPT_ROWS:
                self._read, new = {}, [id for id, _ in ranked]
            positions = pa.array([self._positions[id] for id in new], pa.int64())
            self._read.update(zip(new, self.rows.take(positions).to_pylist(), strict=True))
        return [(score, self._read[id]) for id, score in ranked]


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


def _similarity(index_version: IndexVersion) -> SimilarityConfig:
    """Return the similarity of the index's model without loading its weights."""
    from signatlas.models import registry
    from signatlas.models.folder import parse_config

    path, raw = registry.read_config(index_version.path / "model", registry.DUAL_ENCODER)
    if "similarity" not in raw:
        raise IndexVersionError(f"{path}/config.json has no similarity: build the index again")
    return parse_config(path, SimilarityConfig, raw["similarity"])
