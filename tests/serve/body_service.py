"""A server that reads the bodies of requests, and a client that sends them byte by byte."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse

from serve import errors
from serve.config import Limits
from serve.request_body import BodyReader

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

    try:
        async with running(app) as port:
            yield port, reader
    finally:
        reader.close()


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[int]:
    """Serve an application on a loopback port, and yield the port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        task = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            await task


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
