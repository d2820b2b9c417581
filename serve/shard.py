"""A replica that searches some shards of an index: FAISS, exact re-ranking, and the metadata of its hits."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from serve import metrics
from serve.batcher import SWITCH_INTERVAL_S
from serve.config import IndexApplication
from serve.encoder import VersionMissing
from serve.versions import LoadedVersions, Reporter
from signatlas.errors import LogError
from signatlas.retrieval.faiss_index import num_gpus
from signatlas.retrieval.index_version import IndexVersion, current
from signatlas.retrieval.live_search import LiveSearch
from signatlas.retrieval.operation_log.log import Log, log_location
from signatlas.retrieval.shard_search import Row, ShardQuery, ShardResult

logger = logging.getLogger("ray.serve")
T = TypeVar("T")
UNREADABLE = "the log of additions and removals cannot be read: see the server log"
LOG_POLL_S = 0.5  # time between two looks for new records


class Shard:
    """Searches shards ``number``, ``number + of``, ``number + 2 of`` ... of the index, whatever their count."""

    def __init__(self, config: IndexApplication, number: int, of: int) -> None:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self.config, self.number, self.of = config, number, of
        self.versions: LoadedVersions[LiveSearch] = LoadedVersions(self._load)
        # Versions are loaded in another thread than the one that searches and reads the log.
        self._log_lock = threading.Lock()
        self._log: Log | None = None
        self._log_read_at = time.monotonic()
        self._log_error = ""
        self._reading: asyncio.Task[None] | None = None
        # One thread: FAISS and torch use `threads` threads of their own, set in the thread that calls FAISS.
        threads = config.shard.threads
        self._thread = ThreadPoolExecutor(1, f"shard{number}", initializer=_set_threads, initargs=(threads,))

    def _load(self, version: str) -> LiveSearch:
        index_version = IndexVersion.open(self.config.index, version, verify=False)
        numbers = range(self.number, len(index_version.manifest.shards), self.of)
        search = LiveSearch(index_version, numbers, verify=True)
        if index_version.manifest.kind == "signs":
            with self._log_lock:
                if self._log is None:
                    self._log = Log.open(log_location(self.config.index, self.config.log))
                    self._log_read_at = time.monotonic()
                self._log.update()
                log, operations = self._log, list(self._log.operations)
            search.prepare(log, operations)  # without the lock: searches go on meanwhile
            with self._log_lock:
                search.attach(log)
        if self.config.shard.choose_gpu(f"shard {self.number} of {self.config.name}", num_gpus() > 0):
            for shard in search.shards:
                shard.move_to_gpu()
        return search

    async def start(self, updater: Any) -> None:
        """Load the versions that the updater wants, and follow it. Raises UserError."""
        await Reporter(f"shard {self.number}", updater, self.versions).start(
            lambda: self.config.version or current(self.config.index)
        )
        self._reading = asyncio.ensure_future(self._follow_log())

    async def _follow_log(self) -> None:
        while True:
            await asyncio.sleep(LOG_POLL_S)
            if self._log is not None:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._read_log)

    def _read_log(self) -> None:
        """Read the log, and apply what is new to all versions. What is wrong with it is logged, once."""
        try:
            with self._log_lock:
                assert self._log is not None
                self._log.update()
                for version in self.versions.names():
                    if (content := self.versions.get(version)) is not None:
                        content.follow()
        except Exception as error:  # whatever a storage client raises
            if str(error) != self._log_error:
                logger.error("shard %d of %s: %s", self.number, self.config.name, error)
            self._log_error = str(error)
        else:
            self._log_read_at, self._log_error = time.monotonic(), ""
            metrics.set_log_position(self.config.name, f"shard {self.number}", self._log.end)

    async def search(
        self, version: str, queries: Sequence[ShardQuery], seconds: float, position: int = 0
    ) -> list[ShardResult]:
        """Return the best entries of each query, after the operations of the log up to ``position`` if there are any.

        Raises VersionMissing, LogError where the log could not be read for too long, TimeoutError after ``seconds``.
        """
        content = self._content(version)
        deadline = time.monotonic() + seconds
        call = functools.partial(self._search, content, queries, deadline, position)
        # A call that is cancelled or late while it waits for the thread is not computed.
        return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(self._thread, call), seconds)

    def _search(
        self, content: LiveSearch, queries: Sequence[ShardQuery], deadline: float, position: int
    ) -> list[ShardResult]:
        if time.monotonic() >= deadline:
            raise TimeoutError("late")
        self._catch_up(content, position)
        return content.search(queries)

    def _catch_up(self, content: LiveSearch, position: int) -> None:
        """Read the log if ``content`` is behind ``position``. Raises LogError rather than show what was removed."""
        if content.log is None:
            return
        lag = time.monotonic() - self._log_read_at
        if content.position < position or lag > self.config.max_log_lag_s:
            self._read_log()
            lag = time.monotonic() - self._log_read_at
            if not self._log_error:
                with self._log_lock:
                    content.follow()  # a version may have been unloaded since the search came
        if lag > self.config.max_log_lag_s or (self._log_error and content.position < position):
            raise LogError(UNREADABLE)

    async def row(self, version: str, id: str, position: int = 0) -> Row | None:
        """Return the columns of an entry, None if it is not in these shards. Raises VersionMissing, LogError."""
        return await self._in_thread(version, position, lambda content: content.row(id) if id in content else None)

    async def added(self, version: str, id: str, position: int = 0) -> tuple[Row, Any] | bool:
        """Return row and poses of an added sign; else whether the version's entry was removed."""

        def look(content: LiveSearch) -> tuple[Row, Any] | bool:
            poses = content.poses(id)
            return content.removed(id) if poses is None else (content.row(id), poses)

        return await self._in_thread(version, position, look)

    def _content(self, version: str) -> LiveSearch:
        content = self.versions.get(version)
        if content is None:
            raise VersionMissing(version)
        return content

    async def _in_thread(self, version: str, position: int, look: Callable[[LiveSearch], T]) -> T:
        content = self._content(version)

        def call() -> T:
            self._catch_up(content, position)
            if content.log is not None and content.position < position:
                raise LogError(UNREADABLE)
            return look(content)

        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def check_health(self) -> None:
        """Search by one vector. Raises TimeoutError when that takes too long: Ray Serve then replaces the replica."""
        for version in self.versions.names():
            content = self.versions.get(version)
            if content is not None and content.shards:
                probe = _probe(content.shards[0].index.d)
                # A replica that cannot read the log is sound: another one could not read it either.
                with contextlib.suppress(LogError):
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
