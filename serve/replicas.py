"""Calls of replicas: within a deadline, again where one is lost or late, in batches to a shard."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, NamedTuple

from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.serve.exceptions import BackPressureError, RayServeException

from serve import metrics
from serve.batcher import Batcher
from serve.config import IndexApplication
from serve.errors import Problem
from signatlas.retrieval.shard_search import ShardQuery, ShardResult

logger = logging.getLogger("ray.serve")
# The replica is gone with its process or node, or restarts.
LOST = (
    RayActorError,
    WorkerCrashedError,
    NodeDiedError,
    ObjectLostError,  # an answer, in the memory of a lost node
    TaskCancelledError,
    RayServeException,
)
BATCHES_IN_FLIGHT = 4  # to each shard and encoder
# How long queries wait beside a running batch, to share one call: a call to a replica costs more than most searches.
BATCH_PATIENCE_S = 0.05
LATE_AFTER_S = 0.5  # a shard is late when it did not answer for this long; less time only tells about the deadline
LATE_WAIT_S = 0.25  # how long a search waits for a late shard


class Deadline:
    """The time by which a request must be answered."""

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, at least 0."""
        return max(0.0, self._end - time.monotonic())

    def require(self) -> float:
        """Return the seconds that are left. Raises a 504 Problem when there are none."""
        if (left := self.left()) <= 0:
            raise Problem(504, "the deadline has passed: allow more time, or ask again when there is less to do")
        return left


async def ask_replicas(call: Callable[[float], Any], seconds: float, hedge_s: float | None) -> Any:
    """Return the first answer to ``call(seconds left)``, which starts a request to a replica.

    It is called again when that replica is lost, and after ``hedge_s`` seconds without an answer, for a deployment with
    several replicas: only for requests that change nothing. Then it is called up to three times, since the second call
    may go to the same hung replica, otherwise up to twice. Raises TimeoutError after ``seconds``, the replica's own
    error, or one of ``LOST``.
    """
    most = 2 if hedge_s is None else 3
    end = time.monotonic() + seconds
    attempts = [call(seconds)]
    tasks = {asyncio.ensure_future(result_of(attempts[0]))}
    error: BaseException = TimeoutError("no replica answered in time")
    try:
        while tasks and (left := end - time.monotonic()) > 0:
            wait = min(left, hedge_s) if hedge_s is not None and len(attempts) < most else left
            finished, tasks = await asyncio.wait(tasks, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                failure = TaskCancelledError() if task.cancelled() else task.exception()
                if failure is None:
                    return task.result()
                error = failure
                if not isinstance(failure, LOST) or isinstance(failure, BackPressureError):
                    raise failure
            if len(attempts) < most and (left := end - time.monotonic()) > 0:
                attempts.append(call(left))
                tasks.add(asyncio.ensure_future(result_of(attempts[-1])))
    finally:
        if tasks:
            for task in tasks:
                task.cancel()
            for attempt in attempts:
                attempt.cancel()
    raise TimeoutError("no replica answered in time") if tasks else error


async def result_of(response: Any) -> Any:
    """Await a response of a handle; an error is the one that the replica raised, without Ray's traceback."""
    try:
        return await response
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None


async def stream_of(response: Any) -> AsyncGenerator[Any, None]:
    """Yield the items of a streaming response of a handle, and cancel it where the caller ends before it does.

    An error is the one that the replica raised, without Ray's traceback.
    """
    complete = False
    try:
        async for item in response:
            yield item
        complete = True
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    finally:
        if not complete:
            response.cancel()


class ShardItem(NamedTuple):
    """A query for a shard, when it must be answered, and up to which operation the shard must have read the log."""

    query: ShardQuery
    deadline: float
    position: int


class ShardClient:
    """Sends queries to one shard deployment in batches, asks a second replica where one is slow or lost.

    After a shard was late, searches wait only ``LATE_WAIT_S`` for it. Their batches go on until their own deadlines:
    the first one that is answered shows that the shard is back.
    """

    def __init__(self, number: int, handle: Any, config: IndexApplication):
        self.number, self.handle, self.config = number, handle, config
        self.replicas = 1
        self.late = False
        self._batchers: dict[str, Batcher[ShardItem, ShardResult]] = {}

    async def search(self, version: str, query: ShardQuery, seconds: float, position: int = 0) -> ShardResult:
        """Return the shard's result, with the operations of the log up to ``position`` if there are that many.

        Raises TimeoutError, VersionMissing, LogError, or an error of Ray.
        """
        wait = min(seconds, LATE_WAIT_S) if self.late else seconds
        item = ShardItem(query, time.monotonic() + seconds, position)
        try:
            return await asyncio.wait_for(self._batcher(version).submit(item), wait)
        except TimeoutError:
            self.late = self.late or wait >= LATE_AFTER_S
            raise
        except LOST:
            self.late = True
            raise

    def _batcher(self, version: str) -> Batcher[ShardItem, ShardResult]:
        if version not in self._batchers:

            async def run(batch: Sequence[ShardItem]) -> Sequence[ShardResult]:
                left = max(item.deadline for item in batch) - time.monotonic()
                queries, position = [item.query for item in batch], max(item.position for item in batch)
                results: Sequence[ShardResult] = await self.ask(
                    lambda seconds: self.handle.search.remote(version, queries, seconds, position), max(left, 0.01)
                )
                self.late = False
                return results

            if len(self._batchers) > 4:
                self._batchers.clear()
            self._batchers[version] = Batcher(
                run,
                max_size=self.config.shard.max_batch_size,
                max_running=BATCHES_IN_FLIGHT,
                patience_s=BATCH_PATIENCE_S,
                observe=functools.partial(metrics.observe_batch, self.config.name, f"shard {self.number}"),
            )
        return self._batchers[version]

    async def ask(self, call: Callable[[float], Any], seconds: float) -> Any:
        """Return the answer to ``call(seconds left)``. Raises as :func:`ask_replicas` does."""
        # No caller waits for a late shard any longer than this.
        hedge_s = min(self.config.shard.hedge_s, LATE_WAIT_S / 2) if self.late else self.config.shard.hedge_s
        return await ask_replicas(call, seconds, hedge_s if self.replicas > 1 else None)
