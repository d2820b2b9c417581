"""Send requests with httpx, blocking or with asyncio. The only module of the client that imports httpx."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any, TypeVar

import httpx

from signatlas import __version__
from signatlas.client.errors import one_line
from signatlas.client.events import MEDIA_TYPE, EventParser
from signatlas.client.requests import Call
from signatlas.client.retries import Attempts, Policy, Response
from signatlas.client.schemas import Progress, Token
from signatlas.errors import UserError

CONNECT_S = 5.0  # a node that is gone does not answer at all: try another connection while there is time


H = TypeVar("H", httpx.Client, httpx.AsyncClient)


def _open(client: type[H], key: str | None) -> H:
    """Return an httpx client that sends the key. Raises UserError."""
    headers = {"Accept": "application/json", "User-Agent": f"signatlas/{__version__}"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        return client(headers=headers, follow_redirects=False)
    except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
        raise UserError(
            f"the HTTP client cannot start ({one_line(str(error))}): check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and "
            "SSL_CERT_FILE"
        ) from error


def _arguments(policy: Policy, call: Call[Any], attempts: Attempts, remaining_s: float) -> dict[str, Any]:
    """Return the arguments of ``build_request`` for one attempt."""
    deadline_s = attempts.deadline_s(remaining_s)
    arguments: dict[str, Any] = {
        "method": call.method,
        "url": policy.url + call.path,
        "timeout": httpx.Timeout(remaining_s, connect=min(CONNECT_S, remaining_s)),
    }
    if call.file is not None:
        arguments |= {"data": call.fields(deadline_s), "files": {"file": (*call.file, "application/octet-stream")}}
    elif call.body is not None:
        arguments |= {"content": call.json(deadline_s), "headers": {"Content-Type": "application/json"}}
    if call.idempotency_key is not None:
        arguments.setdefault("headers", {})["Idempotency-Key"] = call.idempotency_key
    if call.events:
        arguments["headers"] = {**arguments.get("headers", {}), "Accept": f"{MEDIA_TYPE}, application/json"}
    return arguments


def _pause_after(error: httpx.HTTPError, attempts: Attempts) -> float:
    """Return the seconds to wait after a failed attempt. Raises ServiceError."""
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        raise attempts.timed_out() from error
    repeatable = isinstance(error, httpx.TransportError) and not isinstance(
        error, httpx.UnsupportedProtocol | httpx.LocalProtocolError
    )
    connected = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError)
    return attempts.pause_after_error(str(error) or type(error).__name__, connected=connected, repeatable=repeatable)


def _response(answer: httpx.Response, content: bytes) -> Response:
    return Response(answer.status_code, _headers(answer), content)


def _headers(answer: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


def _has_events(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and answer.headers.get("content-type", "").partition(";")[0] == MEDIA_TYPE


class SyncTransport:
    """Sends the calls of a :class:`signatlas.client.Client`; threads may share it."""

    def __init__(self, policy: Policy, key: str | None):
        self.policy, self._client = policy, _open(httpx.Client, key)

    def run(self, call: Call[Any], retries: int | None = None) -> Response:
        """Send a call until it is answered. Raises ServiceError."""
        attempts = Attempts(self.policy, call, retries)
        while True:
            try:
                response = self._send(call, attempts)
                pause = attempts.pause_after(response)
                if pause is None:
                    return response
            except httpx.HTTPError as error:
                pause = _pause_after(error, attempts)
            time.sleep(pause)

    def events(self, call: Call[Any]) -> Iterator[Progress | Token | Response]:
        """Send a call, and yield what comes before the answer, and the answer. Raises ServiceError."""
        attempts = Attempts(self.policy, call)
        while True:
            try:
                request = self._client.build_request(**_arguments(self.policy, call, attempts, attempts.begin()))
                with contextlib.closing(self._client.send(request, stream=True)) as answer:
                    if not _has_events(answer):
                        response = _response(answer, answer.read())
                        pause = attempts.pause_after(response)
                        if pause is None:
                            yield response
                            return
                    else:
                        attempts.retries = 0  # what was sent must not come twice
                        parser = EventParser(self.policy, _headers(answer))
                        for piece in answer.iter_bytes():
                            for content in parser.feed(piece):
                                yield content
                                if isinstance(content, Response):
                                    return
                            if time.monotonic() > attempts.ends:
                                raise attempts.timed_out()
                        raise parser.incomplete()
            except httpx.HTTPError as error:
                pause = _pause_after(error, attempts)
            time.sleep(pause)

    def _send(self, call: Call[Any], attempts: Attempts) -> Response:
        request = self._client.build_request(**_arguments(self.policy, call, attempts, attempts.begin()))
        answer = self._client.send(request, stream=True)
        content = bytearray()
        try:
            # httpx limits the time between two pieces only: an answer that trickles in would never end.
            for piece in answer.iter_bytes():
                content += piece
                if time.monotonic() > attempts.ends:
                    raise attempts.timed_out()
        finally:
            answer.close()
        return _response(answer, bytes(content))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class AsyncTransport:
    """Sends the calls of a :class:`signatlas.client.AsyncClient`, in one event loop."""

    def __init__(self, policy: Policy, key: str | None):
        self.policy, self._client = policy, _open(httpx.AsyncClient, key)

    async def run(self, call: Call[Any], retries: int | None = None) -> Response:
        """Send a call until it is answered. Raises ServiceError."""
        attempts = Attempts(self.policy, call, retries)
        while True:
            try:
                response = await self._send(call, attempts)
                pause = attempts.pause_after(response)
                if pause is None:
                    return response
            except httpx.HTTPError as error:
                pause = _pause_after(error, attempts)
            await asyncio.sleep(pause)

    async def events(self, call: Call[Any]) -> AsyncGenerator[Progress | Token | Response, None]:
        """Send a call, and yield what comes before the answer, and the answer. Raises ServiceError."""
        attempts = Attempts(self.policy, call)
        while True:
            try:
                request = self._client.build_request(**_arguments(self.policy, call, attempts, attempts.begin()))
                async with contextlib.aclosing(await self._client.send(request, stream=True)) as answer:
                    if not _has_events(answer):
                        response = _response(answer, await answer.aread())
                        pause = attempts.pause_after(response)
                        if pause is None:
                            yield response
                            return
                    else:
                        attempts.retries = 0  # what was sent must not come twice
                        parser = EventParser(self.policy, _headers(answer))
                        async for piece in answer.aiter_bytes():
                            for content in parser.feed(piece):
                                yield content
                                if isinstance(content, Response):
                                    return
                            if time.monotonic() > attempts.ends:
                                raise attempts.timed_out()
                        raise parser.incomplete()
            except httpx.HTTPError as error:
                pause = _pause_after(error, attempts)
            await asyncio.sleep(pause)

    async def _send(self, call: Call[Any], attempts: Attempts) -> Response:
        remaining_s = attempts.begin()
        request = self._client.build_request(**_arguments(self.policy, call, attempts, remaining_s))
        try:
            async with asyncio.timeout(remaining_s):
                answer = await self._client.send(request)
        except TimeoutError as error:
            raise attempts.timed_out() from error
        return _response(answer, answer.content)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
