"""A real HTTP server that answers by the schemas of the service, and misbehaves when told to."""

from __future__ import annotations

import asyncio
import json
import math
import os
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from serve import schemas
from signatlas.pose.serialization import parse_pose, to_json
from signatlas.retrieval.search import Hit, Sign

SHARDS = schemas.ShardState(answered=2, of=2, missing=[])
POSES = np.random.default_rng(0).uniform(0, 1, (4, 75, 3)).astype(np.float32)
POSES[1, 5] = np.nan
ID = "corpus/wört/a?b#c/%2F/../poses"
Fault = Response | Callable[[], Response]


@dataclass
class Received:
    """A request as it arrived."""

    time: float
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """The running server: ``faults`` are answered first, one a request; ``received`` are all requests."""

    url: str
    faults: list[Fault] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    kind: str = "signs"
    missing: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def pauses(self) -> list[float]:
        """Seconds between the requests."""
        times = [request.time for request in self.received]
        return [b - a for a, b in pairwise(times)]


def problem(status: int, detail: str, headers: dict[str, str] | None = None, **more: Any) -> JSONResponse:
    body = {"type": "about:blank", "title": "Problem", "status": status, "detail": detail, **more}
    return JSONResponse(body, status, headers, "application/problem+json")


def trickle(seconds_between: float) -> StreamingResponse:
    """Return an answer whose bytes come one at a time and never end."""

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(seconds_between)

    return StreamingResponse(pieces(), media_type="application/json")


def hit(rank: int, id: str) -> Hit:
    return Hit(rank=rank, id=id, gloss="[wort]", texts=[{"language": "de", "text": "Wort"}], score=0.9 - rank / 10,
               confidence="probable", sign_language="gsg", source="web", num_frames=7)  # type: ignore[list-item]  # fmt: skip


def result(query: Any, k: int) -> dict[str, Any]:
    """Return hits that name the query; a query for `bad` has a problem."""
    name = getattr(query, "text", None) or getattr(query, "clip", None)
    name = name or (f"poses{query.poses.shape}" if hasattr(query, "poses") else f"vector{len(query.vector)}")
    if name == "bad":
        return {"problem": {"title": "Problem", "status": 422, "detail": "no usable query", "newer": 1}}
    return {"hits": [{**hit(n, name).model_dump(), "newer": [1]} for n in range(1, min(k, 3) + 1)],
            "verdict": "probable", "notes": [f"note on {name}"], "tokens": 3, "scored": 5}  # fmt: skip


def _input(query: Any) -> str:
    if hasattr(query, "clip"):
        return str(query.clip)
    return f"{query.poses.shape} at {query.fps} of {query.width}x{query.height} from {query.source}"


def search_answer(server: Server, queries: list[Any], options: schemas.SearchOptions) -> Any:
    results = [result(query, options.k) for query in queries]
    if len(results) == 1 and "problem" in results[0]:
        return problem(422, results[0]["problem"]["detail"])
    shards = schemas.ShardState(answered=2 - len(server.missing), of=2, missing=server.missing)
    answer = schemas.SearchAnswer(
        results=results, index=options.index or "only", kind=server.kind, version="v7", synthetic=True, entries=120,  # type: ignore[arg-type]
        partial=bool(server.missing), shards=shards,
    )  # fmt: skip
    return {**answer.model_dump(), "results": results, "newer": {"field": 1}}


def build(server: Server) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def misbehave(request: Request, call_next: Any) -> Response:
        body = await request.body()
        server.received.append(Received(time.monotonic(), request.url.path, dict(request.headers), body))
        if server.faults:
            fault = server.faults.pop(0)
            return fault if isinstance(fault, Response) else await asyncio.to_thread(fault)
        response: Response = await call_next(request)
        return response

    @app.post("/v1/search")
    def search(request: schemas.SearchRequest) -> Any:
        return search_answer(server, request.queries, request)

    @app.post("/v1/search/video")
    async def search_video(request: Request) -> Any:
        form = await request.form()
        upload: Any = form["file"]
        poses = parse_pose(await upload.read(), upload.filename).poses
        options = schemas.SearchOptions.model_validate({n: v for n, v in form.items() if n != "file"})
        query = schemas.PosesQuery(poses=to_json(poses))
        return search_answer(server, [query], options)

    @app.post("/v1/translate")
    def translate(request: schemas.TranslateRequest) -> Any:
        results = [
            {"texts": [f"Satz {n}" for n in range(request.n_best)], "notes": [f"{_input(query)} was cut"]}
            for query in request.queries
        ]
        return {"results": results, "model": request.model or "only", "language": "de", "weights": "0" * 64, "new": 1}

    @app.post("/v1/translate/video")
    async def translate_video(request: Request) -> Any:
        form = await request.form()
        upload: Any = form["file"]
        options = schemas.TranslateOptions.model_validate({n: v for n, v in form.items() if n != "file"})
        frames = len(parse_pose(await upload.read(), upload.filename).poses)
        results = [{"texts": [f"{frames} frames, {n}" for n in range(options.n_best)]}]
        return {"results": results, "model": options.model or "only", "language": "de", "weights": "0" * 64}

    @app.post("/v1/embed", response_model=schemas.EmbedAnswer)
    def embed(request: schemas.EmbedRequest) -> Any:
        one = {"vector": [0.6, 0.8], "tokens": [[0.6, 0.8]] * 3 if request.tokens else None}
        return {"results": [one for _ in request.queries], "index": request.index or "only", "version": "v7"}

    @app.get("/v1/indexes", response_model=schemas.Indexes)
    def indexes() -> Any:
        index = schemas.IndexInfo(
            name="only", kind="signs", version="v7", created="now", corpus="small", license="CC0",
            sign_languages=("gsg",), languages=("de",), sources=None, synthetic=True, count=120, shards=2, dims=32,
            factory="Flat", model="small", model_sha256="0" * 64, confidence={"probable": 0.8},
            nprobe=None, ef=64, filters={"source": ["web"], "hands": [1, 2]},
        )  # fmt: skip
        return schemas.Indexes(signatlas="9.9", indexes=[index], limits={"k": 1000})

    @app.get("/v1/models", response_model=schemas.Models)
    def models() -> Any:
        info = schemas.ModelInfo(name="only", language="de", input="poses", parameters=1, weights="0" * 64,
                                 training_corpus=None)  # fmt: skip
        return schemas.Models(signatlas="9.9", models=[info])

    @app.get("/v1/signs/{id:path}")
    def sign(id: str, index: str | None = None) -> Any:
        if id == f"{ID}/poses":
            return {"id": ID, "fps": 25.0, "width": None, "height": None, "poses": to_json(POSES), "newer": 1}
        if id != ID or index == "gone":
            return problem(404, f"no sign '{id}'", {"X-Request-Id": "r-1"})
        return Sign(id=id, gloss=None, texts=[], sign_language="gsg", source="web", split="test", signer_kind="human",
                    num_frames=4, fps=None, width=None, height=None)  # fmt: skip

    @app.get("/readyz")
    def readyz() -> Any:
        return problem(503, "a shard is missing", {"Retry-After": "1"}) if server.missing else {"ready": True}

    return app


@pytest.fixture(scope="module")
def running_server() -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(f"http://127.0.0.1:{listener.getsockname()[1]}")
        runner = uvicorn.Server(uvicorn.Config(build(server), log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=runner.run, kwargs={"sockets": [listener]})
        thread.start()
        while not runner.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield server
        runner.should_exit = True
        thread.join()


@pytest.fixture
def server(running_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server without faults and without a memory."""
    running_server.faults, running_server.received, running_server.missing = [], [], []
    running_server.kind = "signs"
    for name in ("SIGNATLAS_API_KEY", *(n for n in os.environ if n.lower().endswith("_proxy"))):
        monkeypatch.delenv(name, raising=False)
    return running_server


@dataclass
class Front:
    """A proxy before the server that handles its first connections as told, and forwards the others."""

    url: str
    broken: list[bytes | None] = field(default_factory=list)  # bytes to answer before closing; None: reset
    connections: int = 0


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def _serve(front: Front, listener: socket.socket, port: int) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        front.connections += 1
        if not front.broken:
            upstream = socket.create_connection(("127.0.0.1", port))
            for pair in ((client, upstream), (upstream, client)):
                threading.Thread(target=_pump, args=pair, daemon=True).start()
            continue
        answer = front.broken.pop(0)
        client.recv(65536)
        if answer is None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            client.sendall(answer)
        client.close()


@pytest.fixture
def front(server: Server) -> Iterator[Front]:
    listener = socket.create_server(("127.0.0.1", 0))
    front = Front(f"http://127.0.0.1:{listener.getsockname()[1]}")
    thread = threading.Thread(target=_serve, args=(front, listener, server.port))
    thread.start()
    yield front
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def slow(seconds: float) -> Callable[[], Response]:
    """Return a fault that answers late."""

    def answer() -> Response:
        time.sleep(seconds)
        return PlainTextResponse("late", 503)

    assert math.isfinite(seconds)
    return answer
