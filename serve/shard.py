"""A replica that searches some shards of an index: FAISS, exact re-ranking, and the metadata of its hits."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from serve.batcher import SWITCH_INTERVAL_S
from serve.config import IndexApplication
from serve.encoder import VersionMissing
from serve.versions import LoadedVersions, Reporter
from signatlas.retrieval.faiss_index import num_gpus
from signatlas.retrieval.index_version import IndexVersion, current
from signatlas.retrieval.shard_search import Row, ShardQuery, ShardResult, ShardSearch


class Shard:
    """Searches shards ``number``, ``number + of``, ``number + 2 of`` ... of the index, whatever their count."""

    def __init__(self, config: IndexApplication, number: int, of: int) -> None:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self.config, self.number, self.of = config, number, of
        self.versions: LoadedVersions[ShardSearch] = LoadedVersions(self._load)
        # One thread: FAISS and torch use `threads` threads of their own, set in the thread that calls FAISS.
        threads = config.shard.threads
        self._thread = ThreadPoolExecutor(1, f"shard{number}", initializer=_set_threads, initargs=(threads,))

    def _load(self, version: str) -> ShardSearch:
        index_version = IndexVersion.open(self.config.index, version, verify=False)
        numbers = range(self.number, len(index_version.manifest.shards), self.of)
        search = ShardSearch(index_version, numbers, verify=True)
        if self.config.shard.choose_gpu(f"shard {self.number} of {self.config.name}", num_gpus() > 0):
            for shard in search.shards:
                shard.move_to_gpu()
        return search

    async def start(self, updater: Any) -> None:
        """Load the versions that the updater wants, and follow it. Raises UserError."""
        await Reporter(f"shard {self.number}", updater, self.versions).start(
            lambda: self.config.version or current(self.config.index)
        )

    async def search(self, version: str, queries: Sequence[ShardQuery], seconds: float) -> list[ShardResult]:
        """Return the best entries of each query. Raises VersionMissing, and TimeoutError after ``seconds``."""
        content = self.versions.get(version)
        if content is None:
            raise VersionMissing(version)
        deadline = time.monotonic() + seconds
        loop = asyncio.get_running_loop()
        # A call that is cancelled or late while it waits for the thread is not computed.
        return await asyncio.wait_for(loop.run_in_executor(self._thread, _search, content, queries, deadline), seconds)

    async def row(self, version: str, id: str) -> Row | None:
        """Return the columns of an entry, None if it is not in these shards. Raises VersionMissing."""
        content = self.versions.get(version)
        if content is None:
            raise VersionMissing(version)
        return content.row(id) if id in content else None

    async def check_health(self) -> None:
        """Search by one vector. Raises TimeoutError when that takes too long: Ray Serve then replaces the replica."""
        for version in self.versions.names():
            content = self.versions.get(version)
            if content is not None and content.shards:
                probe = _probe(content.shards[0].index.d)
                await self.search(version, [ShardQuery(probe, 1)], self.config.shard.health_check_timeout_s)
                return


def _probe(dims: int) -> Any:
    """Return a unit vector [1, dims], always the same. With zeros, every entry would tie, and all be ranked."""
    import numpy as np

    vector = np.random.default_rng(0).standard_normal((1, dims)).astype(np.float32)
    return vector / np.linalg.norm(vector)


def _set_threads(threads: int) -> None:
    import faiss
    import torch

    faiss.omp_set_num_threads(threads)
    torch.set_num_threads(threads)


def _search(content: ShardSearch, queries: Sequence[ShardQuery], deadline: float) -> list[ShardResult]:
    if time.monotonic() >= deadline:
        raise TimeoutError("late")
    return content.search(queries)
