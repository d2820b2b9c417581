"""Search an index snapshot in this process, without Ray; the service gives the same answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from signatlas.retrieval.index_version import Snapshot
from signatlas.retrieval.merge import Ranked, merge

Mirror = Literal["none", "best"]


class Text(BaseModel):
    language: str
    text: str


class Sign(BaseModel):
    """What an index knows of one recording."""

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


class Hit(BaseModel):
    """One answer: a recording, its score (cosine, -1..1), its rank from 1, and how far the score can be trusted."""

    rank: int
    id: str
    gloss: str | None
    texts: list[Text]
    score: float
    confidence: str | None
    sign_language: str
    source: str
    num_frames: int


class Catalog:
    """The recordings of an index by id."""

    def __init__(self, snapshot: Snapshot):
        self.manifest = snapshot.manifest
        self._rows: pa.Table = snapshot.rows().combine_chunks()
        self._places = {id: place for place, id in enumerate(self._rows["id"].to_pylist())}

    def __contains__(self, id: str) -> bool:
        return id in self._places

    def sign(self, id: str) -> Sign:
        """Raises KeyError for an id that is not in the index."""
        row = self._rows.slice(self._places[id], 1).to_pylist()[0]
        return Sign(**{**row, "texts": row["texts"] or []})

    def verdict(self, hits: list[Hit]) -> str | None:
        """probable, possible, unlikely or not found: the word of the whole answer."""
        return self.manifest.confidence.verdict(hits[0].score if hits else None)

    def hits(self, ranked: Ranked) -> list[Hit]:
        """Add to each (id, score) what the index knows of it."""
        places = pa.array([self._places[id] for id, _ in ranked], pa.int64())
        rows = self._rows.take(places).to_pylist()
        return [
            Hit(
                rank=rank,
                score=score,
                confidence=self.manifest.confidence.word(score),
                texts=row["texts"] or [],
                **{name: row[name] for name in ("id", "gloss", "sign_language", "source", "num_frames")},
            )
            for rank, ((_, score), row) in enumerate(zip(ranked, rows, strict=True), start=1)
        ]


def without(ranked: Iterable[tuple[str, float]], id: str | None, k: int) -> Ranked:
    """The best ``k``, leaving out the recording that asks."""
    return [pair for pair in ranked if pair[0] != id][:k]


class LocalSearch:
    """All shards of a snapshot in this process."""

    def __init__(self, snapshot: Snapshot):
        snapshot.require_signs()
        self.snapshot, self.catalog = snapshot, Catalog(snapshot)
        self.shards = [snapshot.shard(n) for n in range(len(snapshot.manifest.shards))]

    def rank(self, vectors: np.ndarray, k: int) -> list[Ranked]:
        """The ``k`` best (id, score) of each query of unit vectors float32 [Q, E]."""
        found = [shard.search(vectors, k) for shard in self.shards]
        return [merge(of_query, k) for of_query in zip(*found, strict=True)]

    def search(
        self,
        poses: np.ndarray,
        *,
        aspect: float | None = None,
        source: str | None = None,
        k: int = 10,
        mirror: Mirror = "best",
        leave_out: str | None = None,
    ) -> list[Hit]:
        """The ``k`` best hits for one clip float32 [frames, 75, 3] in image units.

        ``aspect`` is width/height; where it is unknown, what the model assumes of ``source`` holds.
        ``mirror="best"`` also asks with the mirrored clip, as a signer of the other hand would perform it, and keeps
        the better score of each recording. ``leave_out`` is the id of the clip that asks. Raises PoseError.
        """
        encoder = self.snapshot.encoder()
        aspect = aspect or encoder.aspect_of(source, None, None)
        sides = (False, True) if mirror == "best" else (False,)
        vectors = np.concatenate([encoder.embed([poses], aspect=aspect, mirror=side) for side in sides])
        return self.catalog.hits(without(merge(self.rank(vectors, k + 1), k + 1), leave_out, k))
