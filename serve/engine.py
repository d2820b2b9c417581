"""Answer many searches with one call to the encoder and one to each shard."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import numpy as np

from serve.deployments import Live, Recording
from serve.errors import busy
from signatlas.errors import PoseError
from signatlas.retrieval.merge import Ranked, merge
from signatlas.retrieval.search import Catalog

ATTEMPTS, PAUSE_S = 20, 0.25  # how long a request waits for the parts to have a version in common


class Asked(NamedTuple):
    """One search: recordings (both sides of one clip, for instance) or a unit vector, and how many answers."""

    recordings: list[Recording]
    vector: np.ndarray | None
    k: int


class Answered(NamedTuple):
    ranked: Ranked
    catalog: Catalog


class Mixed(Exception):
    """A part of the service does not hold the version that was asked for."""


class Engine:
    """Encoder and shards behind handles. Never mixes two versions of an index in one answer."""

    def __init__(self, encoder: Any, shards: list[Any], live: Live[Catalog]):
        self.encoder, self.shards, self.live = encoder, shards, live

    async def answer(self, batch: list[Asked]) -> list[Answered | Exception]:
        """One answer a search, a PoseError where its clip cannot be embedded. Raises Problem 503."""
        for _ in range(ATTEMPTS):
            for version in self.live.versions():
                try:
                    return await self._attempt(batch, *self.live.get(version))
                except Mixed:
                    continue
            await asyncio.sleep(PAUSE_S)
        raise busy("the index is being replaced; try again in a moment")

    async def _attempt(self, batch: list[Asked], version: str, catalog: Catalog) -> list[Answered | Exception]:
        embedded = await self._embed(batch, version)
        failed = {i: e for i, vectors in enumerate(embedded) for e in vectors if isinstance(e, PoseError)}
        queries = [(i, v) for i, vectors in enumerate(embedded) if i not in failed for v in vectors]
        per_asked: list[list[Ranked]] = [[] for _ in batch]
        if queries:
            vectors = np.stack([v for _, v in queries]).astype(np.float32)
            ks = [batch[i].k for i, _ in queries]
            answers = await asyncio.gather(*(shard.search.remote(version, vectors, ks) for shard in self.shards))
            for answered_by, rankings in answers:
                self._same(answered_by, version)
                for (i, _), ranked in zip(queries, rankings, strict=True):
                    per_asked[i].append(ranked)
        return [
            failed[i] if i in failed else Answered(merge(per_asked[i], asked.k), catalog)
            for i, asked in enumerate(batch)
        ]

    async def _embed(self, batch: list[Asked], version: str) -> list[list[Any]]:
        """For each search its unit vectors, or the errors in their place."""
        recordings = [recording for asked in batch for recording in asked.recordings]
        vectors: list[Any] = []
        if recordings:
            answered_by, vectors = await self.encoder.embed.remote((version, recordings))
            self._same(answered_by, version)
        rest = iter(vectors)
        return [
            [asked.vector] if asked.vector is not None else [next(rest) for _ in asked.recordings] for asked in batch
        ]

    @staticmethod
    def _same(found: str, expected: str) -> None:
        if found != expected:
            raise Mixed

    async def versions(self, timeout_s: float) -> dict[str, str | None]:
        """The version that each part serves, None for a part that does not answer in time."""
        parts = {"encoder": self.encoder} | {f"shard {n}": shard for n, shard in enumerate(self.shards)}

        async def ask(handle: Any) -> str | None:
            try:
                version: str = await asyncio.wait_for(handle.version.remote(), timeout_s)
            except Exception:  # whatever keeps a part from answering, it is not ready
                return None
            return version

        return dict(zip(parts, await asyncio.gather(*(ask(h) for h in parts.values())), strict=True))
