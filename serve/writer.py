"""The one writer of an index's log: adds signs to the live index and removes entries. One replica."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from serve.config import IndexApplication
from signatlas.errors import UserError
from signatlas.retrieval.operation_log.lease import RENEW_S, LeaseLost
from signatlas.retrieval.operation_log.record import AddedSign
from signatlas.retrieval.operation_log.writer import IdTaken, InvalidId, KeyReused, NoSuchEntry, Written
from signatlas.retrieval.operation_log.writer import Writer as LogWriter

logger = logging.getLogger("ray.serve")
T = TypeVar("T")
RETRY_S = 1.0  # until the next try to get a lease that another writer holds


class Writer:
    """Holds the lease of the log while the service runs; asked while another holds it, it names that one."""

    def __init__(self, config: IndexApplication, url: str | None = None) -> None:
        self.config, self.url = config, url
        self._writer: LogWriter | None = None
        self._why = ""  # it has no lease, as logged last
        # One thread: the writer of a log is not safe for several.
        self._thread = ThreadPoolExecutor(1, "writer")
        self._task: asyncio.Task[None] | None = None
        self._beat = time.monotonic()

    def follow(self) -> None:
        """Start to acquire the lease, and to renew it."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._follow())

    async def _follow(self) -> None:
        while True:
            await self._in_thread(self._hold)
            self._beat = time.monotonic()
            await asyncio.sleep(RETRY_S if self._writer is None else RENEW_S / 2)

    def _hold(self) -> None:
        try:
            self._holder().lease.hold()
        except (UserError, OSError) as error:
            if isinstance(error, LeaseLost):
                self._writer = None
            if str(error) != self._why:
                logger.warning("%s takes no changes now: %s", self.config.name, error)
            self._why = str(error)
        else:
            self._why = ""

    def _holder(self) -> LogWriter:
        """Return the writer with the lease. Raises LeaseHeld, LogError, IndexVersionError."""
        if self._writer is None:
            config = self.config
            self._writer = LogWriter(config.index, name=f"service {config.name!r}", url=self.url,
                                     version=config.version, log=config.log)  # fmt: skip
        return self._writer

    async def add(
        self, id: str, sign: AddedSign, poses: np.ndarray, vector: np.ndarray, model_sha256: str, key: str
    ) -> Written:
        """Add a sign. Raises LogError and its kinds; whether it was stored is known to a repetition with ``key``."""
        return await self._in_thread(
            lambda: self._write(lambda w: w.add(id, sign, poses, vector, model_sha256=model_sha256, key=key))
        )

    async def remove(self, id: str, key: str) -> Written:
        """Remove an entry. Raises LogError and its kinds."""
        return await self._in_thread(lambda: self._write(lambda w: w.remove(id, key=key)))

    def _write(self, call: Callable[[LogWriter], Written]) -> Written:
        try:
            return call(self._holder())
        except (IdTaken, InvalidId, KeyReused, NoSuchEntry):
            raise
        except UserError as error:
            if isinstance(error, LeaseLost):
                self._writer = None
            logger.error("%s: a change was not stored: %s", self.config.name, error)
            raise

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def check_health(self) -> None:
        """Raise RuntimeError when the thread hangs for longer than a lease lasts: Ray Serve replaces the replica."""
        if time.monotonic() - self._beat > 60:
            raise RuntimeError("the log has not answered for a minute")

    async def close(self) -> None:
        """Give the lease back."""
        if self._task is not None:
            self._task.cancel()
        await self._in_thread(self._close)

    def _close(self) -> None:
        # In the thread, so that a lease which is being acquired is given back as well.
        if self._writer is not None:
            self._writer.close()
            self._writer = None
