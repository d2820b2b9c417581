"""Search an index of signs in this process, without Ray; the service returns the same results."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from signatlas.errors import UserError
from signatlas.pose.normalize import check_query
from signatlas.retrieval.confidence import Mirror
from signatlas.retrieval.faiss_index import DEFAULT_EFFORT, Effort
from signatlas.retrieval.filters import Filter, mask, misfit
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.live_search import LiveSearch
from signatlas.retrieval.operation_log.log import Log
from signatlas.retrieval.shard import Ranked, merge
from signatlas.retrieval.shard_search import Row, ShardQuery


class Text(BaseModel):
    language: str
    text: str


class Sign(BaseModel):
    """An indexed recording; movement and location describe a single sign (docs/indexes.md)."""

    id: str
    gloss: str | None
    texts: list[Text]
    sign_language: str
    source: str
    split: str
    signer_kind: str
    num_frames: int
    fps: float | None
    width: int | None
    height: int | None
    corpus: str | None = None
    signer: str | None = None
    hands: int | None = None
    movement: str | None = None
    location: str | None = None


class Hit(BaseModel):
    """A search result: a recording, its rank from 1, its score (cosine, -1..1), and the confidence in it."""

    rank: int
    id: str
    gloss: str | None
    texts: list[Text]
    score: float
    confidence: str | None
    sign_language: str
    source: str
    num_frames: int
    signer: str | None = None
    hands: int | None = None
    movement: str | None = None
    location: str | None = None


HIT_COLUMNS = ("id", "gloss", "sign_language", "source", "num_frames", "signer", "hands", "movement", "location")


class Catalog:
    """The entries of an index version by id."""

    def __init__(self, index_version: IndexVersion):
        self.manifest = index_version.manifest
        self._rows: pa.Table = index_version.rows()
        self._ends = np.cumsum([part.count for part in self.manifest.shards])
        self._positions = {id: position for position, id in enumerate(self._rows["id"].to_pylist())}

    def __contains__(self, id: str) -> bool:
        return id in self._positions

    def allowed(
        self, filter: Filter | None, *, language: str | None = None, leave_out: str | None = None
    ) -> list[np.ndarray | None]:
        """Return for each shard which of its entries may be hits, bool [N], or None for all of them.

        They meet the filter, have a text in ``language``, and are not the one with the id ``leave_out``. Raises
        UserError for a filter that does not fit the kind of the index.
        """
        if (message := misfit(filter, self.manifest.kind)) is not None:
            raise UserError(message)
        meets = mask(self._rows, filter, language)
        if leave_out in self._positions:
            meets = np.ones(len(self._rows), bool) if meets is None else meets
            meets[self._positions[leave_out]] = False
        if meets is None:
            return [None] * len(self._ends)
        return list(np.split(meets, self._ends[:-1]))

    def sign(self, id: str) -> Sign:
        """Return an entry. Raises KeyError for an id that is not in the index."""
        row = self._rows.slice(self._positions[id], 1).to_pylist()[0]
        return Sign(**{**row, "texts": row["texts"] or []})

    def verdict(self, hits: list[Hit]) -> str | None:
        """Return the confidence in the whole result: probable, possible, unlikely or not found."""
        return self.manifest.confidence.verdict(hits[0].score if hits else None)

    def hits(self, ranked: Ranked) -> list[Hit]:
        """Return each (id, score) with the entry's data."""
        positions = pa.array([self._positions[id] for id, _ in ranked], pa.int64())
        rows = self._rows.take(positions).to_pylist()
        found = zip(ranked, rows, strict=True)
        return [self.hit(rank, score, row) for rank, ((_, score), row) in enumerate(found, start=1)]

    def hit(self, rank: int, score: float, row: Row) -> Hit:
        """Return an entry's data with its rank and score."""
        return Hit(
            rank=rank,
            score=score,
            confidence=self.manifest.confidence.word(score),
            texts=row["texts"] or [],
            **{name: row[name] for name in HIT_COLUMNS},
        )


def without(ranked: Iterable[tuple[str, float]], id: str | None, k: int) -> Ranked:
    """Return the best ``k`` without the query's own recording."""
    return [pair for pair in ranked if pair[0] != id][:k]


class SignSearch:
    """Search in all shards of an index of signs; with ``log``, as its additions and removals left them."""

    def __init__(self, index_version: IndexVersion, log: Log | None = None):
        index_version.require_signs()
        self.live = None if log is None else LiveSearch(index_version, log=log)
        self.index_version, self.catalog = index_version, Catalog(index_version)
        self.shards = [index_version.shard(n) for n in range(len(index_version.manifest.shards))]

    def rank(
        self,
        vectors: np.ndarray,
        k: int,
        *,
        filter: Filter | None = None,
        leave_out: str | None = None,
        effort: Effort = DEFAULT_EFFORT,
    ) -> list[Ranked]:
        """Return the ``k`` best (id, score) of each query of unit vectors float32 [Q, E], in the version itself.

        Only entries that meet the ``filter`` are ranked, and not that with the id ``leave_out``.
        """
        allowed = self.catalog.allowed(filter, leave_out=leave_out)
        rankings = [shard.search(vectors, k, a, effort) for shard, a in zip(self.shards, allowed, strict=True)]
        return [merge(query_rankings, k) for query_rankings in zip(*rankings, strict=True)]

    def search(
        self,
        poses: np.ndarray,
        *,
        aspect: float | None = None,
        source: str | None = None,
        k: int = 10,
        mirror: Mirror = "best",
        leave_out: str | None = None,
        filter: Filter | None = None,
        effort: Effort = DEFAULT_EFFORT,
    ) -> list[Hit]:
        """Return the ``k`` best hits for one clip float32 [frames, 75, 3] in image units.

        ``aspect`` is width/height; where it is unknown, the model's assumption about ``source`` is used.
        ``mirror="best"`` also searches with the mirrored clip, as a signer of the other hand would perform it, and
        keeps the better score of each recording. ``leave_out`` is the id of the query's clip; ``filter`` and
        ``effort`` are as in :meth:`rank`. Raises PoseError, also for a clip without hands or without a finite
        embedding.
        """
        poses = check_query(poses)
        encoder = self.index_version.encoder()
        aspect = aspect or encoder.aspect_of(source, None, None)
        sides = (False, True) if mirror == "best" else (False,)
        vectors = np.concatenate([encoder.embed([poses], aspect=aspect, mirror=side) for side in sides])
        if self.live is not None:
            if (message := misfit(filter, "signs")) is not None:
                raise UserError(message)
            query = ShardQuery(vectors, k, leave_out=leave_out, filter=filter, nprobe=effort.nprobe, ef=effort.ef)
            found = self.live.search([query])[0]
            return [self.catalog.hit(rank, score, row) for rank, (score, row) in enumerate(found.hits, start=1)]
        rankings = self.rank(vectors, k, filter=filter, leave_out=leave_out, effort=effort)
        return self.catalog.hits(merge(rankings, k))
