"""Plain Ray Serve applications to compare the service with.

``rpc`` validates and encodes in its gateway and calls every shard once per request. ``empty`` reads the body and does
nothing. Run: python -m benchmarks.serve.ray_peers rpc --index FOLDER --port 8000
"""

# No `from __future__ import annotations` here: ray.serve.ingress rebuilds the endpoint signatures, and FastAPI cannot
# resolve string annotations in them.
import argparse
import asyncio
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from ray import serve

from benchmarks.serve.uvicorn_peer import JSON, Answers
from cluster.connect import connected
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.shard import Ranked

rpc_api = FastAPI()


@serve.ingress(rpc_api)
class RpcGateway:
    """Validates and encodes a request, calls every shard once, and adds the metadata of the hits."""

    def __init__(self, root: str, shards: list[Any]) -> None:
        self.answers, self.shards = Answers(root), shards

    @rpc_api.post("/v1/search")
    async def search(self, request: Request) -> Response:
        parsed = self.answers.parse(await request.body())
        rankings = await asyncio.gather(*(shard.search.remote(parsed.vectors, parsed.k) for shard in self.shards))
        return Response(self.answers.answer(parsed, rankings), media_type=JSON)


class RpcShard:
    """Searches one shard with FAISS."""

    def __init__(self, root: str, number: int) -> None:
        self.shard = IndexVersion.open(root, verify=False).shard(number)

    async def search(self, vectors: np.ndarray, k: int) -> list[Ranked]:
        return self.shard.search(vectors, k)


class Empty:
    """Reads the request and answers an empty object."""

    async def __call__(self, request: Request) -> Response:
        await request.body()
        return Response(b"{}", media_type=JSON)


def rpc_application(root: str) -> Any:
    """Return the Ray Serve application of ``rpc``."""
    numbers = range(len(IndexVersion.open(root, verify=False).manifest.shards))
    shards = [_deployment(RpcShard, f"Shard{n}", 64, 0.1).bind(root, n) for n in numbers]
    return _deployment(RpcGateway, "RpcGateway", 256, 0.2).bind(root, shards)


def empty_application(_: str) -> Any:
    """Return the Ray Serve application of ``empty``."""
    return _deployment(Empty, "Empty", 256, 0.2).bind()


def _deployment(cls: Any, name: str, max_ongoing_requests: int, num_cpus: float) -> Any:
    """Return a deployment of one replica with the options that the service gives its own."""
    options: dict[str, Any] = {
        "max_ongoing_requests": max_ongoing_requests,
        "ray_actor_options": {"num_cpus": num_cpus},
    }
    return serve.deployment(name=name, num_replicas=1, **options)(cls)


def serve_until_stopped(application: Any, port: int) -> None:
    """Run a Ray Serve application on a local Ray until SIGINT or SIGTERM."""
    stopped = threading.Event()
    with connected(worker_logs=False):
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: stopped.set())
        quiet = {"log_level": "WARNING", "enable_access_log": False}
        serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"log_level": "WARNING"})
        try:
            serve.run(application, name="peer", route_prefix="/", logging_config=quiet)
            print("serving", flush=True)
            while not stopped.wait(0.5):
                pass
        finally:
            serve.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["rpc", "empty"])
    parser.add_argument("--index", required=True, type=Path)
    parser.add_argument("--port", required=True, type=int)
    arguments = parser.parse_args()
    # Imported under its own name: Ray's workers cannot import __main__.
    from benchmarks.serve import ray_peers

    application = ray_peers.rpc_application if arguments.peer == "rpc" else ray_peers.empty_application
    serve_until_stopped(application(str(arguments.index)), arguments.port)


if __name__ == "__main__":
    main()
