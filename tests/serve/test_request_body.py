"""Bodies of requests over real connections: limits, time-outs, parsing, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import math
import socket
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse

from serve import errors, request_body
from serve.config import Limits
from serve.request_body import BodyReader, StructureBounds
from serve.schemas import SearchRequest
from signatlas.pose.serialization import to_json

MIB = 1 << 20
LIMITS = Limits(body_bytes=2 * MIB)
POINT = "[0,0,0]"


def same(value: Any) -> Any:
    return value


def describe(value: Any) -> str:
    return type(value).__name__


@asynccontextmanager
async def service(
    limits: Limits = LIMITS, convert: Callable[[Any], Any] = same, **options: Any
) -> AsyncIterator[tuple[int, BodyReader]]:
    """A server on a loopback port with one path for JSON and one for uploads; yields the port and its reader."""
    reader = BodyReader(limits, **options)
    app = FastAPI()
    errors.install(app)

    @app.post("/json")
    async def read_json(request: Request) -> JSONResponse:
        async with reader.json(request, convert) as value:
            return JSONResponse(value)

    @app.post("/upload")
    async def read_upload(request: Request) -> JSONResponse:
        async with reader.upload(request) as (name, content, fields):
            return JSONResponse({"name": name, "bytes": len(content), "end": content[-1:].hex(), "fields": fields})

    @app.get("/healthz")
    async def healthz() -> None: ...

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        task = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield listener.getsockname()[1], reader
        finally:
            server.should_exit = server.force_exit = True
            await task
            reader.close()


class Answer:
    """A response read from a socket."""

    def __init__(self, raw: bytes) -> None:
        head, _, body = raw.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        self.body: Any = json.loads(body) if body else None

    @property
    def detail(self) -> str:
        assert self.headers["content-type"] == "application/problem+json" and self.body["status"] == self.status
        return str(self.body["detail"])


async def receive(reader: asyncio.StreamReader) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return Answer(head + await reader.readexactly(length))


def request_head(path: str = "/json", length: int | None = None, **headers: str) -> bytes:
    fields = {"host": "x", "content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    fields |= {"transfer-encoding": "chunked"} if length is None else {"content-length": str(length)}
    return (f"POST {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n").encode()


async def post(port: int, body: bytes, path: str = "/json", **headers: str) -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_head(path, len(body), **headers) + body)
    answer = await receive(reader)
    writer.close()
    return answer


def empty(reader: BodyReader) -> bool:
    budget = reader.budget
    return (budget.used_bodies, budget.used_bytes, budget.used_large_bodies, budget.used_large_bytes) == (0, 0, 0, 0)


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


# Values


@pytest.mark.parametrize("padding", [0, 20_000, 1_100_000], ids=["inline", "small", "large"])
def test_json_is_parsed_alike_at_every_size(padding: int) -> None:
    texts = {
        '{"a": [1, 2.5, null, true, "ä\\u00e4\\ud83d\\ude00"]}': (200, ""),
        '{"a": 1, "a": 2}': (200, ""),
        "1e308": (200, ""),
        "": (400, "not valid JSON"),
        "{": (400, "not valid JSON"),
        "[1] x": (400, "not valid JSON"),
        "[NaN]": (400, "send null for a missing coordinate"),
        "[-Infinity]": (400, "send null for a missing coordinate"),
        "[1, nan]": (400, "not valid JSON"),
        "{'a': 1}": (400, "not valid JSON"),
        "[" * 2000 + "]" * 2000: (400, "depth limit exceeded"),
        '"\x00"': (400, "not valid JSON"),
        "1e999": (422, "too large for float64"),
        "1" + "0" * 400: (422, "too large for float64"),
        '"\\ud800"': (422, "half of a surrogate pair"),
        '{"clip": "\\udc00"}': (422, "half of a surrogate pair"),
        '{"\\ud800x": 1}': (422, "half of a surrogate pair"),
    }
    bodies = {" " * padding + text for text in texts}
    expected = [(text.strip().encode(), status, detail) for text, (status, detail) in texts.items()]
    expected += [(b'"\xff"', 400, "not valid JSON"), (b'"\xed\xa0\x80"', 400, "not valid JSON")]
    expected += [('"x"'.encode("utf-16"), 400, "not valid JSON"), (b'\xef\xbb\xbf"x"', 400, "not valid JSON")]
    assert len(bodies) == len(texts)

    async def main() -> None:
        async with service() as (port, reader):
            for text, status, detail in expected:
                answer = await post(port, b" " * padding + text)
                assert answer.status == status, (text, answer.body)
                if status == 200:
                    assert answer.body == json.loads(text)
                else:
                    assert detail in answer.detail
            assert empty(reader)

    asyncio.run(main())


def clip(frames: int) -> list[Any]:
    return to_json(np.full((frames, 75, 3), 0.5, np.float32))


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ('{"poses": POSES, "width": 1%s, "height": 480}' % ("0" * 400), 422, "too large for float64"),
        ('{"poses": POSES, "width": 640, "height": 480}', 200, ""),
        ('{"clip": "\\ud800"}', 422, "half of a surrogate pair"),
        ('{"clip": "a"}', 200, ""),
        (f'{{"poses": [[{",".join(["[3e38,-3e38,0]"] * 75)}]]}}', 200, ""),  # the encoder refuses it
        (f'{{"poses": [[{",".join(["[3e39,-3e39,0]"] * 75)}]]}}', 422, "out of range"),
        ('{"vector": [0, 0]}', 422, "length above zero"),
        ('{"poses": POSES, "LONGKEY": 1}', 422, "Extra inputs are not permitted"),
    ],
)
def test_requests_are_validated_in_the_same_step(query: str, status: int, detail: str) -> None:
    body = query.replace("POSES", json.dumps(clip(3))).replace("LONGKEY", "y" * 100_000)

    def convert(value: Any) -> int:
        return len(SearchRequest.model_validate(value).queries)

    async def main() -> None:
        async with service(convert=convert) as (port, _):
            answer = await post(port, f'{{"queries": [{body}]}}'.encode())
            assert answer.status == status, answer.body
            if status != 200:
                assert detail in answer.detail and "y" * 101 not in answer.detail

    asyncio.run(main())


# Structure


def fill(start: str, item: str, end: str, size: int = 16 * MIB) -> bytes:
    return f"{start}{item * ((size - len(start) - len(end)) // len(item))}{end}".encode()


def hostile() -> Iterator[tuple[str, bytes]]:
    yield "nested lists", fill('{"poses":[', "[[]],", "[]]}")
    yield "lists", fill("[", "[],", "[]]")
    yield "objects", fill('{"poses":[', "{},", "{}]}")
    yield "numbers", fill("[", "1,", "1]")
    yield "strings", fill("[", '"",', '""]')
    yield "keys", b"{" + b",".join(b'"k%d":1' % number for number in range(1_000_000)) + b"}"
    yield "open lists", b"[" * 16 * MIB


def test_structures_that_take_long_to_parse_are_refused_before() -> None:
    bounds = StructureBounds.of(Limits())
    for name, content in hostile():
        started = time.process_time()
        result = request_body._parse_json(bytearray(content), bounds, lambda value: pytest.fail("parsed"))
        elapsed = time.process_time() - started
        assert isinstance(result, errors.Problem) and result.status == 413, name
        print(f"{name}: {1e3 * elapsed:.0f} ms: {result.detail}")
        assert elapsed < 0.5, name  # 10 to 40 ms; parsing takes seconds


def test_every_request_within_the_limits_is_parsed() -> None:
    limits = Limits(frames=20, queries=4, text_characters=500)
    bounds = StructureBounds.of(limits)
    worst = '[{,"' * 125
    queries = [
        [{"poses": clip(20), "source": worst, "language": "de"}] * 4,
        [{"text": worst, "language": "de"}] * 4,
        [{"clip": worst * 2}] * 4,
        [{"vector": [0.1] * 65536}] * 4,
    ]
    for query in queries:
        content = json.dumps({"queries": query, "index": "x", "k": 3}).encode()
        assert bounds.check(content) is None
    assert bounds.check(json.dumps({"queries": [{"poses": clip(20)}] * 25}).encode()) is not None


def test_more_queries_than_allowed_are_not_validated() -> None:
    bounds = StructureBounds.of(Limits(queries=4))
    many: list[list[Any]] = [[{"clip": "a"}] * 5, [[]] * 10_000]
    for queries in many:
        content = bytearray(json.dumps({"queries": queries}).encode())
        result = request_body._parse_json(content, bounds, lambda value: pytest.fail("validated"))
        assert isinstance(result, errors.Problem) and result.status == 413
        assert result.detail == f"queries: {len(queries):,}; at most 4 are accepted in one request"
    content = bytearray(json.dumps({"queries": [{"clip": "a"}] * 4}).encode())
    assert len(request_body._parse_json(content, bounds, SearchRequest.model_validate).queries) == 4  # type: ignore[union-attr]


def test_large_hostile_bodies_do_not_block_the_event_loop() -> None:
    """Eight bodies of 16 MiB at a time; with json.loads on the event loop everybody waited for 28 s.

    Measured in processor time of this process, because other processes on the machine block nothing.
    """
    frame = f"[{','.join([POINT] * 75)}],"
    clips = fill('{"queries":[{"poses":[', frame, f"{frame[:-1]}]}}]}}")  # valid: 27,000 frames, the most lists
    assert StructureBounds.of(Limits()).check(clips) is None
    bodies = [*(body for _, body in hostile()), clips]

    def send(port: int, body: bytes) -> int:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request_head(length=len(body)) + body)
            return int(connection.makefile("rb").readline().split()[1])

    async def main() -> None:
        async with service(Limits(), describe) as (port, reader):
            lags, waits, stop = [0.0], [0.0], False

            async def measure() -> None:
                while not stop:
                    started = time.process_time()
                    await asyncio.sleep(0.01)
                    lags.append(time.process_time() - started)

            meter = asyncio.create_task(measure())
            for kind in (bodies, [bodies[0]] * 8, [clips] * 2):
                sent = asyncio.gather(*(asyncio.to_thread(send, port, body) for body in kind))
                while not sent.done():
                    started = time.process_time()
                    assert (await post(port, b"[1]")).status == 200
                    waits.append(time.process_time() - started)
                    await asyncio.sleep(0.05)
                assert await sent == [200 if body is clips else 413 for body in kind]
            stop = True
            await meter
            print(f"event loop blocked for {1e3 * max(lags):.0f} ms, small requests for {1e3 * max(waits):.0f} ms")
            assert max(lags) < 1 and max(waits) < 2 and empty(reader)

    asyncio.run(main())


def test_garbage_is_collected_again_after_parsing() -> None:
    content = bytearray(json.dumps(clip(1)).encode())
    bounds = StructureBounds.of(Limits())
    states: list[bool] = []

    def fail(value: Any) -> None:
        states.append(gc.isenabled())
        raise ZeroDivisionError

    for size in (0, request_body.LARGE_BYTES):
        with pytest.raises(ZeroDivisionError):
            request_body._parse_json(content + b" " * size, bounds, fail)
        assert gc.isenabled()
    assert states == [True, False]


# Sizes and headers


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({"content_type": "text/plain"}, "accepts application/json, not 'text/plain'"),
        ({"content_type": ""}, "not 'nothing'"),
        ({"content_type": "x" * 5000}, "xxx..."),
        ({"content_encoding": "gzip"}, "not 'gzip'"),
        ({"content_encoding": "identity, br"}, "not 'identity, br'"),
    ],
)
def test_other_types_and_encodings_are_refused_before_the_body(headers: dict[str, str], detail: str) -> None:
    async def main() -> None:
        async with service() as (port, reader):
            client, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_head(length=1000, **headers))  # and nothing of the body
            answer = await receive(client)
            assert answer.status == 415 and detail in answer.detail and len(answer.detail) < 250
            assert empty(reader)
            writer.close()

    asyncio.run(main())


def test_usual_headers_are_accepted() -> None:
    async def main() -> None:
        async with service() as (port, _):
            for headers in ({"content_type": "Application/JSON; charset=utf-8"}, {"content_encoding": "identity"}):
                assert (await post(port, b"[1]", **headers)).body == [1]

    asyncio.run(main())


def test_bodies_above_the_limit_are_refused() -> None:
    async def main() -> None:
        async with service() as (port, reader):
            assert (await post(port, b'"' + b"x" * (2 * MIB - 2) + b'"')).status == 200
            client, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_head(length=2 * MIB + 1))  # announced: refused before anything is sent
            answer = await receive(client)
            assert answer.status == 413 and "2,097,153 bytes; at most 2,097,152" in answer.detail
            writer.close()
            client, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_head() + b"".join(b"10000\r\n" + b" " * 65536 + b"\r\n" for _ in range(33)))
            answer = await receive(client)
            assert answer.status == 413 and "more than 2,097,152 bytes" in answer.detail
            writer.close()
            assert empty(reader)

    asyncio.run(main())


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


# Forms


def form(*parts: tuple[str, bytes], end: bytes = b"--BOUND--\r\n") -> bytes:
    return b"".join(
        b"--BOUND\r\nContent-Disposition: form-data; " + h.encode() + b"\r\n\r\n" + b + b"\r\n" for h, b in parts
    ) + (end)


FORM = "multipart/form-data; boundary=BOUND"
FILE = 'name="file"; filename="a.pose"'


def test_an_upload_is_read() -> None:
    content = bytes(range(256)) * 4000 + b"\r\n--BOUN\r\n--"

    async def main() -> None:
        async with service() as (port, reader):
            parts = (('name="k"', b"5"), (FILE, content), ('name="word"', "für".encode()))
            answer = await post(port, form(*parts), "/upload", content_type=FORM)
            assert answer.body == {
                "name": "a.pose",
                "bytes": len(content),
                "end": "2d",
                "fields": {"k": "5", "word": "für"},
            }
            for name, shown in (
                ("C:\\\\folder\\\\b.pose", "b.pose"),
                ("../../b\x01.pose", "b_.pose"),
                ("x" * 3000 + ".pose", "x" * 95 + ".pose"),
                ("", ""),
            ):
                body = form((f'name="file"; filename="{name}"', b"."))
                assert (await post(port, body, "/upload", content_type=FORM)).body["name"] == shown
            assert empty(reader)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "content_type", "status", "detail"),
    [
        (form((FILE, b"x")), "application/json", 415, "accepts multipart/form-data"),
        (form((FILE, b"x")), "multipart/form-data", 400, "no boundary"),
        (form(('name="x"', b"x")), FORM, 422, "no file"),
        (form(('name="file"', b"x")), FORM, 422, "no file"),
        (form((FILE, b"x"), end=b""), FORM, 400, "incomplete"),
        (b"", FORM, 400, "incomplete"),
        (b"--BOUND\r\nno header\r\n\r\n", FORM, 400, "malformed"),
        (b"--BOUND\r\n\r\nx\r\n--BOUND--\r\n", FORM, 400, "no name"),
        (form((FILE, b"x"), (FILE, b"x")), FORM, 400, "more than one file"),
        (form(*[('name="x"', b"")] * 17, (FILE, b"x")), FORM, 400, "more than 16 fields"),
        (form(('name="x"', b"x" * 70_000), (FILE, b"x")), FORM, 400, "a field has more than 65,536 bytes"),
        (form((FILE, b"x" * 2 * MIB)), FORM, 413, "at most 2,097,152"),
        (b"x" * MIB, FORM, 400, ""),
    ],
)
def test_unusable_forms(body: bytes, content_type: str, status: int, detail: str) -> None:
    async def main() -> None:
        async with service() as (port, reader):
            answer = await post(port, body, "/upload", content_type=content_type)
            assert answer.status == status and detail in answer.detail, answer.body
            assert empty(reader)

    asyncio.run(main())


def test_hostile_forms_end_quickly() -> None:
    part = b'--BOUND\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n'
    for body in (part * 200_000, b"--BOUND\r\n" + b"a: b\r\n" * 2_000_000, b"--BOUND\r\na: " + b"b" * 10 * MIB):
        started = time.process_time()
        result = request_body._parse_form(bytearray(body), FORM)
        assert isinstance(result, errors.Problem) and result.status == 400
        assert time.process_time() - started < 1


def test_numbers_in_bodies_keep_their_precision() -> None:
    values = [0.1, 1e-300, 5e-324, math.pi, 2**53 + 1, -0.0, 123456789012345678]
    result = request_body._parse_json(bytearray(json.dumps(values).encode()), StructureBounds.of(Limits()), same)
    assert result == values
