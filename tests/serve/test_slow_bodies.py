"""Bodies that come slowly or never end over real connections: time-outs, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request

from serve import errors
from serve.config import Limits
from serve.request_body import BodyReader
from serve.schemas import SearchRequest
from tests.serve.body_service import (
    MIB,
    Answer,
    describe,
    empty,
    post,
    receive,
    request_head,
    service,
    until,
)

# Time


async def stalled(port: int, send: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> tuple[Answer, float]:
    """Announce a body, send parts of it, and return the answer and when it came."""
    started = time.monotonic()
    client, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_head(length=1_000_000))
    sending = asyncio.ensure_future(send(writer))
    answer = await receive(client)
    elapsed = time.monotonic() - started
    with contextlib.suppress(ConnectionResetError):  # where something was still on its way
        assert await client.read() == b""  # the server closed the connection
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    writer.close()
    return answer, elapsed


def drip(size: int, pause: float) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    async def send(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b" " * size)
            await writer.drain()
            await asyncio.sleep(pause)

    return send


@pytest.mark.parametrize(
    ("send", "limits", "min_bytes_per_s", "detail", "earliest"),
    [
        (drip(1, 3600), {"idle_timeout_s": 0.3}, 1, "nothing of the body arrived for 0.3 s", 0.3),
        (drip(500, 0.05), {"idle_timeout_s": 5, "body_timeout_s": 0.6}, 1, "took more than 0.6 s", 0.6),
        (drip(1, 0.05), {"idle_timeout_s": 0.4}, 1000, "more slowly than 1000 bytes per second", 0.4),
    ],
    ids=["idle", "whole", "rate"],
)
def test_slow_clients_are_cut_off(
    send: Any, limits: dict[str, float], min_bytes_per_s: float, detail: str, earliest: float
) -> None:
    async def main() -> None:
        async with service(Limits(**limits), min_bytes_per_s=min_bytes_per_s) as (port, reader):
            answer, elapsed = await stalled(port, send)
            assert answer.status == 408 and detail in answer.detail and answer.headers["connection"] == "close"
            assert earliest <= elapsed < earliest + 5 and empty(reader)

    asyncio.run(main())


def test_slow_but_steady_clients_are_served() -> None:
    async def main() -> None:
        limits = Limits(idle_timeout_s=1, body_timeout_s=20)
        async with service(limits, describe, min_bytes_per_s=1000) as (port, _):
            client, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_head(length=8002) + b"[")
            for _ in range(16):
                writer.write(b" " * 500)
                await asyncio.sleep(0.1)
            writer.write(b"]")
            assert (await receive(client)).status == 200
            writer.close()

    asyncio.run(main())


def test_unfinished_bodies_end_and_leave_nothing() -> None:
    """300 of them, as many as stopped the service once, and small requests are answered meanwhile."""

    async def main() -> None:
        async with service(Limits(idle_timeout_s=2, body_bytes=7 * MIB, bytes_in_flight=8 * MIB)) as (port, reader):
            connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(300)]
            for number, (_, writer) in enumerate(connections):
                # Some send much of what they announced: together more than is accepted.
                writer.write(request_head(length=MIB) + b" " * (500_000 if number % 10 == 0 else 1))
            await until(lambda: reader.budget.used_bodies > 250)
            assert reader.budget.used_large_bytes <= 7 * MIB
            assert (await post(port, b"[1]")).body == [1]
            answers = await asyncio.gather(*(receive(client) for client, _ in connections))
            statuses = {answer.status for answer in answers}
            assert statuses == {408, 503} and empty(reader)
            assert {answer.headers["retry-after"] for answer in answers if answer.status == 503} == {"1"}
            for _, writer in connections:
                writer.close()

    asyncio.run(main())


def test_too_many_bodies_get_503() -> None:
    async def main() -> None:
        async with service(Limits(bodies_in_flight=3, idle_timeout_s=30)) as (port, reader):
            connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            for _, writer in connections:
                writer.write(request_head(length=10) + b"[")
            await until(lambda: reader.budget.used_bodies == 3)
            answer = await post(port, b"[1]")
            assert answer.status == 503 and answer.headers["retry-after"] == "1"
            connections[0][1].close()
            await until(lambda: reader.budget.used_bodies == 2)
            assert (await post(port, b"[1]")).status == 200
            for _, writer in connections[1:]:
                writer.write(b"1       ]")
            for client, _ in connections[1:]:
                assert (await receive(client)).body == [1]
            assert empty(reader)

    asyncio.run(main())


def test_a_client_that_leaves_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with service() as (port, reader):
            for size in (0, 1, 100_000, 1_000_000):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request_head(length=1_000_001) + b" " * size)
                await until(lambda expected=size: reader.budget.used_bytes == expected and not empty(reader))  # type: ignore[misc]
                writer.transport.abort()
                await until(lambda: empty(reader))
            assert (await post(port, b"[1]")).status == 200

    with caplog.at_level(logging.INFO):
        asyncio.run(main())
    assert [record.getMessage() for record in caplog.records if record.name != "asyncio"] == []


# Memory and threads


def test_the_memory_of_a_body_is_returned() -> None:
    async def main() -> None:
        scope = {"type": "http", "headers": [(b"content-type", b"application/json")], "method": "POST"}
        reader = BodyReader(Limits())

        def chunks() -> Callable[[], Awaitable[dict[str, Any]]]:
            left = 15 * 16

            async def receive() -> dict[str, Any]:
                nonlocal left
                left -= 1
                part = b'"' if left in (0, 239) else b"x" * 65536
                return {"type": "http.request", "body": part, "more_body": left > 0}

            return receive

        for convert in (len, lambda value: SearchRequest.model_validate({"queries": value})):
            tracemalloc.start()
            try:
                async with reader.json(Request(scope, chunks()), convert) as length:
                    assert length == 238 * 65536
                    assert tracemalloc.get_traced_memory()[1] > 15 * MIB
                    await until(lambda: tracemalloc.get_traced_memory()[0] < MIB)
                    assert (reader.budget.used_bytes, reader.budget.used_bodies) == (0, 1)
            except errors.Problem as problem:
                assert problem.status == 422 and problem.__context__ is None
                await until(lambda: tracemalloc.get_traced_memory()[0] < MIB)
            finally:
                tracemalloc.stop()
            assert empty(reader)
        reader.close()

    asyncio.run(main())


def test_a_cancelled_request_returns_its_bytes_when_the_thread_is_done() -> None:
    async def main() -> None:
        started, release = threading.Event(), threading.Event()

        def convert(value: Any) -> None:
            started.set()
            release.wait(20)

        scope = {"type": "http", "headers": [(b"content-type", b"application/json")], "method": "POST"}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b" " * 100_000 + b"1", "more_body": False}

        async def read() -> None:
            async with reader.json(Request(scope, receive), convert):
                pytest.fail("answered")

        reader = BodyReader(Limits())
        running, waiting = asyncio.create_task(read()), asyncio.create_task(read())
        await until(started.is_set)
        await until(lambda: reader.budget.used_bytes == 200_002)
        waiting.cancel()
        running.cancel()
        await until(lambda: reader.budget.used_bytes == 100_001)  # the one in the thread keeps its bytes
        release.set()
        assert [type(e) for e in await asyncio.gather(running, waiting, return_exceptions=True)] == (
            [asyncio.CancelledError] * 2
        )
        assert empty(reader)
        reader.close()

    asyncio.run(main())
