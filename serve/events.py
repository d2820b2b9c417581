"""Server-sent events: progress, tokens, and the answer or problem of a request, as they come.

Each event has a name and a JSON object: ``progress``, ``token``, and at the end ``result`` (what the request would
be answered with otherwise) or ``problem`` (RFC 9457). A line that begins with a colon keeps the connection alive.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

MEDIA_TYPE = "text/event-stream"
KEEP_ALIVE_S = 15.0
MARGIN_S = 5.0  # beyond the deadline of the work itself
Emit = Callable[[str, dict[str, Any]], Awaitable[None]]
Work = Callable[[Emit | None], Awaitable[Response]]


def is_wanted(request: Request) -> bool:
    """Return whether the request's Accept header names server-sent events."""
    accepted = ",".join(request.headers.getlist("accept")).lower().split(",")
    return any(choice.partition(";")[0].strip() == MEDIA_TYPE for choice in accepted)


def event(name: str, data: bytes) -> bytes:
    """Return an event. ``data`` is a JSON value in one line."""
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


async def answer(request: Request, held: AsyncExitStack, work: Work, *, stream: bool, seconds: float) -> Response:
    """Return the response of ``work``; as server-sent events with ``stream``.

    ``held`` are the request's share of its key's limits and its body. A stream holds them until it ends, with the work,
    with the client, or after ``seconds`` and a margin. ``work`` gets a function that sends an event, None without
    ``stream``.
    """
    return EventStream(request, held.pop_all(), work, seconds) if stream else await work(None)


class EventStream(Response):
    """A response of server-sent events; it does its work while it is sent."""

    media_type = MEDIA_TYPE

    def __init__(self, request: Request, held: AsyncExitStack, work: Work, seconds: float):
        self.status_code, self.background, self.body = 200, None, b""
        # nginx would otherwise collect events before it passes them on.
        self.init_headers({"X-Accel-Buffering": "no", "Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._request, self._held, self._work, self._seconds = request, held, work, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the work is done; a client that leaves cancels it."""

        async def send_part(part: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": part, "more_body": more})

        async def emit(name: str, data: dict[str, Any]) -> None:
            await send_part(event(name, orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)))

        async with self._held, asyncio.timeout(self._seconds + MARGIN_S):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            work = asyncio.ensure_future(self._last_event(emit))
            left = asyncio.ensure_future(_until_disconnected(receive))
            try:
                while not work.done():
                    await asyncio.wait({work, left}, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
                    if left.done():
                        return
                    if not work.done():
                        await send_part(b": still working\n\n")
                await send_part(work.result(), more=False)
            finally:
                work.cancel()
                left.cancel()
                await asyncio.gather(work, left, return_exceptions=True)

    async def _last_event(self, emit: Emit) -> bytes:
        try:
            response = await self._work(emit)
        except Exception as error:
            response = await _response_of(self._request, error)
        return event("result" if response.status_code == 200 else "problem", bytes(response.body))


async def _response_of(request: Request, error: Exception) -> Response:
    """Return the response that the application gives for an error."""
    handlers = request.app.exception_handlers
    handler = next(handlers[kind] for kind in type(error).__mro__ if kind in handlers)
    response = handler(request, error)
    return await response if inspect.isawaitable(response) else response


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
