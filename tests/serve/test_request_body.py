"""Bodies of requests over real connections: values, structure, sizes, headers and forms."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from serve import errors, request_body
from serve.config import Limits
from serve.request_body import StructureBounds
from serve.schemas import SearchRequest
from signatlas.pose.serialization import to_json
from tests.serve.body_service import (
    MIB,
    POINT,
    describe,
    empty,
    post,
    receive,
    request_head,
    same,
    service,
)

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
