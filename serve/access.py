"""Who may call ``/v1``: checks keys, follows the file they are in, and holds each key's share of the gateway."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request

from serve.admission import RateLimit
from serve.config import KeyOptions
from serve.errors import Problem
from serve.keys import Key, KeyRing, presented_key

logger = logging.getLogger("ray.serve")
REFRESH_S = 2.0  # a key that was added or revoked is in effect after this time


class Access:
    """The keys of a gateway replica. Raises UserError when the key file cannot be read."""

    def __init__(self, options: KeyOptions):
        self.ring = _ring(options)
        self.rates = RateLimit(options.requests_per_s, options.burst, options.concurrent)
        self._task: asyncio.Task[None] | None = None

    def follow(self) -> None:
        """Start to follow the key file."""
        if self.ring.path is not None:
            self._task = asyncio.ensure_future(self._follow())

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                if await asyncio.to_thread(self.ring.refresh):
                    logger.warning("%d keys are valid now", len(self.ring.keys))
            except Exception:
                logger.exception("the key file cannot be followed; trying again")

    @asynccontextmanager
    async def admit(self, request: Request) -> AsyncIterator[Key]:
        """Run the block as one request of the key that came with it. Raises a Problem (401, 429)."""
        key = self.ring.check(presented_key(request.headers))
        if key is None:
            detail = "send a valid key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
            raise Problem(401, detail, {"WWW-Authenticate": "Bearer"})
        request.state.key = key.name  # for the log of requests
        if self.ring.allow_anonymous:  # everyone would share the limits of one key
            yield key
            return
        async with self.rates.admit(key.name):
            yield key


def _ring(options: KeyOptions) -> KeyRing:
    if options.allow_anonymous:
        return KeyRing.anonymous()
    if options.keys is not None:
        return KeyRing.open(options.keys)
    if options.run_key_sha256 is not None:
        return KeyRing((Key(name="run", role="write", sha256=options.run_key_sha256, created=""),))
    # `serve deploy` with a file that names no keys: nobody gets in.
    return KeyRing()
