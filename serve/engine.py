"""Answer a batch of searches with one call to the encoder and one to each shard."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import numpy as np

from serve.deployments import LoadedVersions, Recording
from serve.errors import service_unavailable
from signatlas.errors import PoseError
from signatlas.retrieval.search import Catalog
from signatlas.retrieval.shard import Ranked, merge

ATTEMPTS, PAUSE_S = 20, 0.25  # how long a request waits for a version that all deployments have loaded


class Search(NamedTuple):
    """One search: recordings (for instance both sides of one clip) or a unit vector, and the number of results."""

    recordings: list[Recording]
    vector: np.ndarray | None
    k: int


class SearchResult(NamedTuple):
    ranked: Ranked
    catalog: Catalog


class VersionMismatch(Exception):
    """A deployment has not loaded the requested index version."""


class Engine:
    """Runs searches on encoder and shards through their handles. All parts of a result come from one index version."""

    def __init__(self, encoder: Any, shards: list[Any], loaded: LoadedVersions[Catalog]):
        self.encoder, self.shards, self.loaded = encoder, shards, loaded

    async def search(self, batch: list[Search]) -> list[SearchResult | Exception]:
        """Return a result for each search, or a PoseError if its clip cannot be embedded. Raises a Problem, 503."""
        for _ in range(ATTEMPTS):
            for version in self.loaded.versions():
                try:
                    return await self._attempt(batch, *self.loaded.get(version))
                except VersionMismatch:
                    continue
            await asyncio.sleep(PAUSE_S)
        raise service_unavailable("the index is being replaced; try again in a moment")

    async def _attempt(self, batch: list[Search], version: str, catalog: Catalog) -> list[SearchResult | Exception]:
        embedded = await self._embed(batch, version)
        failed = {i: e for i, vectors in enumerate(embedded) for e in vectors if isinstance(e, PoseError)}
        queries = [(i, v) for i, vectors in enumerate(embedded) if i not in failed for v in vectors]
        rankings: list[list[Ranked]] = [[] for _ in batch]
        if queries:
            vectors = np.stack([v for _, v in queries]).astype(np.float32)
            ks = [batch[i].k for i, _ in queries]
            answers = await asyncio.gather(*(shard.search.remote(version, vectors, ks) for shard in self.shards))
            for shard_version, shard_rankings in answers:
                self._require_same(shard_version, version)
                for (i, _), ranked in zip(queries, shard_rankings, strict=True):
                    rankings[i].append(ranked)
        return [
            failed[i] if i in failed else SearchResult(merge(rankings[i], search.k), catalog)
            for i, search in enumerate(batch)
        ]

    async def _embed(self, batch: list[Search], version: str) -> list[list[Any]]:
        """Return the unit vectors of each search; an error replaces a vector that could not be computed."""
        recordings = [recording for search in batch for recording in search.recordings]
        vectors: list[Any] = []
        if recordings:
            encoder_version, vectors = await self.encoder.embed.remote((version, recordings))
            self._require_same(encoder_version, version)
        remaining = iter(vectors)
        return [
            [search.vector] if search.vector is not None else [next(remaining) for _ in search.recordings]
            for search in batch
        ]

    @staticmethod
    def _require_same(version: str, expected: str) -> None:
        if version != expected:
            raise VersionMismatch

    async def versions(self, timeout_s: float) -> dict[str, str | None]:
        """Return the version that each deployment serves, None for one that does not answer in time."""
        handles = {"encoder": self.encoder} | {f"shard {n}": shard for n, shard in enumerate(self.shards)}

        async def get_version(handle: Any) -> str | None:
            try:
                version: str = await asyncio.wait_for(handle.version.remote(), timeout_s)
            except Exception:  # any error means that the deployment is not ready
                return None
            return version

        return dict(zip(handles, await asyncio.gather(*map(get_version, handles.values())), strict=True))
