"""Closed-loop HTTP load in a process of its own: every connection sends its next request after the last answer.

A raw asyncio client over HTTP/1.1 with keep-alive, so that the client costs little of the machine it shares with the
server. It prints one JSON line. Run: python -m benchmarks.serve.load SPEC.json
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple, cast

STAGE = re.compile(rb"([a-z_]+);dur=([0-9.]+)")
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
HEADERS_END = b"\r\n\r\n"
PERCENTILES = (50, 95, 99)


class Exchange(NamedTuple):
    """A request, header and body, and bytes that a right answer contains (the id of the best hit)."""

    request: bytes
    expected: bytes


class Tally:
    """Counts of the answers that arrive between ``start`` and ``end`` (seconds of ``time.perf_counter``)."""

    def __init__(self, start: float, end: float):
        self.start, self.end = start, end
        self.latencies: list[float] = []
        self.errors: Counter[str] = Counter()
        self.wrong = 0
        self.stages: dict[str, list[float]] = defaultdict(list)

    def answer(self, sent: float, status: int, header: bytes, body: bytes, expected: bytes) -> None:
        """Count one complete answer to a request that was sent at ``sent``."""
        now = time.perf_counter()
        if not self.start <= now < self.end:
            return
        if status != 200:
            self.errors[str(status)] += 1
            return
        self.latencies.append(now - sent)
        self.wrong += expected not in body
        for line in header.split(b"\r\n"):
            if line[:14].lower() == b"server-timing:":
                for stage, milliseconds in STAGE.findall(line):
                    self.stages[stage.decode()].append(float(milliseconds))

    def error(self, name: str) -> None:
        """Count a request without a complete answer."""
        if self.start <= time.perf_counter():
            self.errors[name] += 1

    def result(self) -> dict[str, Any]:
        """Return requests per second, percentiles of the latency in ms, errors by kind, and means of the stages."""
        ordered, count = sorted(self.latencies), len(self.latencies)
        result: dict[str, Any] = {"requests": count, "per_s": round(count / (self.end - self.start), 2)}
        for percent in PERCENTILES:
            position = min(count * percent // 100, count - 1)
            result[f"p{percent}_ms"] = round(1000 * ordered[position], 2) if count else None
        stages = {name: round(sum(times) / len(times), 3) for name, times in self.stages.items()}
        return result | {"errors": dict(self.errors), "wrong": self.wrong, "stages_ms": stages}


class Connection(asyncio.Protocol):
    """One keep-alive connection that sends the exchanges in turn, beginning with number ``position``."""

    def __init__(self, exchanges: list[Exchange], position: int, tally: Tally):
        self.exchanges, self.position, self.tally = exchanges, position, tally
        self.transport: asyncio.Transport | None = None
        self.buffer = bytearray()
        self.sent: float | None = None  # None while no answer is outstanding
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.send()

    def send(self) -> None:
        assert self.transport is not None
        if time.perf_counter() >= self.tally.end:
            self.transport.close()
            return
        self.sent = time.perf_counter()
        self.transport.write(self.exchanges[self.position % len(self.exchanges)].request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        try:
            answer = parse_answer(self.buffer)
        except ValueError:
            self.buffer.clear()
            self.sent = None
            self.tally.error("invalid answer")
            if self.transport is not None:
                self.transport.close()
            return
        if answer is None or self.sent is None:
            return
        status, header, body = answer
        self.tally.answer(self.sent, status, header, body, self.exchanges[self.position % len(self.exchanges)].expected)
        self.buffer.clear()
        self.sent = None
        self.position += 1
        if CLOSES.search(header):
            assert self.transport is not None
            self.transport.close()
        else:
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.sent is not None and time.perf_counter() < self.tally.end:
            self.tally.error("connection closed")
        if not self.closed.done():
            self.closed.set_result(None)


def parse_answer(buffer: bytes | bytearray) -> tuple[int, bytes, bytes] | None:
    """Return (status, header, body) of one HTTP/1.1 answer; None while it is incomplete. Raises ValueError."""
    end = buffer.find(HEADERS_END)
    if end < 0:
        return None
    header = bytes(buffer[:end])
    lines = header.split(b"\r\n")
    protocol, _, rest = lines[0].partition(b" ")
    if not protocol.startswith(b"HTTP/1."):
        raise ValueError("not an answer in HTTP/1")
    status, body = int(rest[:3]), buffer[end + len(HEADERS_END) :]
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
            return (status, header, bytes(body)) if len(body) >= length else None
        if name.lower() == b"transfer-encoding" and value.strip().lower() == b"chunked":
            whole = join_chunks(body)
            return None if whole is None else (status, header, whole)
    raise ValueError("the answer has neither a length nor chunks")


def join_chunks(body: bytes | bytearray) -> bytes | None:
    """Return the content of a chunked body, None while its last chunk is missing. Raises ValueError."""
    content, start = bytearray(), 0
    while True:
        end = body.find(b"\r\n", start)
        if end < 0:
            return None
        size = int(bytes(body[start:end]).split(b";")[0], 16)
        start = end + 2
        if len(body) < start + size + 2:
            return None
        if size == 0:
            return bytes(content)
        content += body[start : start + size]
        start += size + 2


async def keep_sending(host: str, port: int, exchanges: list[Exchange], first: int, tally: Tally) -> None:
    """Use one connection until the end, and a new one whenever the server closes it."""
    loop = asyncio.get_running_loop()
    position = first
    while (remaining := tally.end - time.perf_counter()) > 0:
        connection = Connection(exchanges, position, tally)
        try:
            transport, _ = await loop.create_connection(lambda c=connection: c, host, port)  # type: ignore[misc]
        except OSError:
            tally.error("connection refused")
            await asyncio.sleep(0.1)
            continue
        try:
            await asyncio.wait_for(asyncio.shield(connection.closed), remaining)
        except TimeoutError:
            connection.sent = None  # cut off by the end, not by the server
            transport.abort()
        position = connection.position


async def measure(
    port: int, exchanges: list[Exchange], connections: int, seconds: float, warmup: float, host: str = "127.0.0.1"
) -> dict[str, Any]:
    """Return what ``Tally.result`` says of ``seconds`` of load after ``warmup`` seconds, and the client's own CPU time.

    ``client_cpu`` is the CPU time of this process per second. A request that is still unanswered at the end counts
    as ``unfinished`` if the whole measurement passed without an answer.
    """
    start = time.perf_counter() + warmup
    tally = Tally(start, start + seconds)
    cpu = time.process_time()
    spread = max(len(exchanges) // connections, 1)
    await asyncio.gather(*(keep_sending(host, port, exchanges, n * spread, tally) for n in range(connections)))
    if not tally.latencies and not tally.errors:
        tally.errors["unfinished"] = connections
    return tally.result() | {"client_cpu": round((time.process_time() - cpu) / (seconds + warmup), 3)}


def post(path: str, body: bytes, expected: bytes, host: str = "127.0.0.1") -> Exchange:
    """Return the exchange of a POST of JSON."""
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return Exchange(f"{head}\r\n".encode() + body, expected)


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    exchanges = [post(spec["path"], e["body"].encode(), e["expected"].encode()) for e in spec["exchanges"]]
    try:
        import uvloop
    except ImportError:
        run = asyncio.run
    else:
        run = uvloop.run
    print(json.dumps(run(measure(spec["port"], exchanges, spec["connections"], spec["seconds"], spec["warmup"]))))


if __name__ == "__main__":
    main()
