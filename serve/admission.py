"""Admission: rates per key, bodies in flight, and running requests of one gateway replica.

Everything here is used from one event loop and never blocks it. Whoever exceeds a limit gets a problem document, 429
for a key's own limits and 503 for those of the service, each with Retry-After; nothing is queued without a bound.
Limits are those of one replica: n gateways together admit up to n times as much.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from serve.errors import Problem, service_unavailable

SMALL_BODY = 64 << 10  # bytes; what a search by text, clip or vector sends
SMALL_SHARE = 1 / 8  # of bodies and bytes, kept for small bodies
MAX_IDLE_BUCKETS = 1024


@dataclass
class _Bucket:
    tokens: float
    updated: float
    running: int = 0


class RateLimit:
    """A token bucket and a bound on concurrent requests for each key.

    A key may send ``burst`` requests at once, and ``requests_per_s`` over time; at most ``concurrent`` of them run.
    ``clock`` returns seconds.
    """

    def __init__(
        self, requests_per_s: float, burst: int, concurrent: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.requests_per_s, self.burst, self.concurrent = requests_per_s, burst, concurrent
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    @asynccontextmanager
    async def admit(self, key: str) -> AsyncIterator[None]:
        """Count one request of the key called ``key`` while the block runs. Raises a 429 with Retry-After."""
        bucket = self._take(key)
        bucket.running += 1
        try:
            yield
        finally:
            bucket.running -= 1

    def _take(self, key: str) -> _Bucket:
        bucket = self._refilled(key)
        if bucket.running >= self.concurrent:
            detail = f"this key already has {self.concurrent} requests running, the most it may have: wait for one"
            raise Problem(429, detail, {"Retry-After": "1"})
        if bucket.tokens < 1:
            # Rounded up: a client that waits this long is admitted.
            wait = math.ceil((1 - bucket.tokens) / self.requests_per_s)
            detail = f"this key may send {self.requests_per_s:g} requests per second: try again in {wait} s"
            raise Problem(429, detail, {"Retry-After": str(wait)})
        bucket.tokens -= 1
        return bucket

    def _refilled(self, key: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            self._forget_idle(now)
            bucket = self._buckets[key] = _Bucket(self.burst, now)
        bucket.tokens = self._tokens(bucket, now)
        bucket.updated = now
        return bucket

    def _tokens(self, bucket: _Bucket, now: float) -> float:
        return min(self.burst, bucket.tokens + (now - bucket.updated) * self.requests_per_s)

    def _forget_idle(self, now: float) -> None:
        # A full bucket without requests is like a new one: those of revoked keys need not be kept.
        if len(self._buckets) < MAX_IDLE_BUCKETS:
            return
        self._buckets = {
            key: bucket
            for key, bucket in self._buckets.items()
            if bucket.running or self._tokens(bucket, now) < self.burst
        }


class Reservation:
    """The share of one body in a :class:`BodyBudget`."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.size = 0
        self.large = False

    def add(self, count: int) -> None:
        """Reserve ``count`` more bytes, before they are kept. Raises a 503 when the service has no room for them."""
        if self.size + count > SMALL_BODY:
            self.declare_large()
        self._budget._reserve_bytes(count, self.large)
        self.size += count

    def declare_large(self) -> None:
        """Count this body as a large one. Raises a 503 when the service has no room for one more."""
        if not self.large:
            self._budget._grow(self.size)
            self.large = True

    def release_bytes(self) -> None:
        """Return the bytes, after the body was parsed and dropped; the body itself counts until its block ends."""
        self._budget._release_bytes(self.size, self.large)
        self.size = 0


class BodyBudget:
    """Bounds on request bodies in memory: their number and their bytes, over all connections.

    Bytes are reserved as they arrive, so that a client which announces a large body and sends none holds nothing. A
    share of both is kept for bodies of up to SMALL_BODY bytes: large uploads cannot shut out small searches. A body
    whose length is unknown counts as small until it is larger.
    """

    def __init__(self, bodies: int, total_bytes: int) -> None:
        self.bodies, self.total_bytes = bodies, total_bytes
        self.large_bodies = max(1, bodies - math.ceil(bodies * SMALL_SHARE))
        self.large_bytes = total_bytes - math.ceil(total_bytes * SMALL_SHARE)
        self.used_bodies = self.used_bytes = 0
        self.used_large_bodies = self.used_large_bytes = 0

    @asynccontextmanager
    async def body(self, expected_bytes: int | None = None) -> AsyncIterator[Reservation]:
        """Count one body while the block runs, and return its bytes at the end at the latest.

        ``expected_bytes``: the length that the client announced, if any. Raises a 503 with Retry-After.
        """
        if self.used_bodies >= self.bodies:
            raise self._full()
        self.used_bodies += 1
        reservation = Reservation(self)
        try:
            if expected_bytes is not None and expected_bytes > SMALL_BODY:
                reservation.declare_large()
            yield reservation
        finally:
            reservation.release_bytes()
            self.used_bodies -= 1
            self.used_large_bodies -= reservation.large

    def _reserve_bytes(self, count: int, large: bool) -> None:
        if self.used_bytes + count > self.total_bytes or (large and self.used_large_bytes + count > self.large_bytes):
            raise self._full()
        self.used_bytes += count
        self.used_large_bytes += count * large

    def _release_bytes(self, count: int, large: bool) -> None:
        self.used_bytes -= count
        self.used_large_bytes -= count * large

    def _grow(self, size: int) -> None:
        """Count a body with ``size`` bytes so far, which were those of a small one, as a large one."""
        if self.used_large_bodies >= self.large_bodies or self.used_large_bytes + size > self.large_bytes:
            raise self._full()
        self.used_large_bodies += 1
        self.used_large_bytes += size

    @staticmethod
    def _full() -> Problem:
        return service_unavailable("the service is receiving as many requests as it has memory for: try again")


class Running:
    """A bound on the requests that run at a time; others wait in order of arrival, for a bounded time.

    ``waiting``: how many may wait at a time. ``wait_s``: how long each may wait.
    """

    def __init__(self, limit: int, waiting: int, wait_s: float) -> None:
        self.limit, self.max_waiting, self.wait_s = limit, waiting, wait_s
        self.running = self.waiting = 0
        self._semaphore = asyncio.Semaphore(limit)

    @asynccontextmanager
    async def slot(self, wait_s: float | None = None) -> AsyncIterator[None]:
        """Run the block as one of the running requests. Raises a 503 with Retry-After.

        ``wait_s`` lowers the time to wait, for a request whose deadline is nearer.
        """
        await self._acquire(self.wait_s if wait_s is None else min(wait_s, self.wait_s))
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._semaphore.release()

    async def _acquire(self, wait_s: float) -> None:
        if self._semaphore.locked():
            if self.waiting >= self.max_waiting or wait_s <= 0:
                raise service_unavailable("the service is busy with other requests: try again")
            self.waiting += 1
            try:
                async with asyncio.timeout(wait_s):
                    await self._semaphore.acquire()
            except TimeoutError:
                raise service_unavailable(
                    f"the service was busy with other requests for {wait_s:.1f} s: try again"
                ) from None
            finally:
                self.waiting -= 1
        else:
            await self._semaphore.acquire()
