"""A server in one uvicorn process: the validation, encoding and answers of the service, with FAISS beside them.

It knows indexes of signs, and queries by vector, poses and clip id.
Run: python -m benchmarks.serve.uvicorn_peer --index FOLDER --port 8000
"""

from __future__ import annotations

import argparse
import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import ValidationError

from benchmarks.serve.data import cores
from serve.schemas import ClipQuery, PosesQuery, QueryResult, SearchAnswer, SearchRequest, ShardState, VectorQuery
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.queries import ClipReader, UnknownClip
from signatlas.retrieval.search import Catalog, SignSearch, without
from signatlas.retrieval.shard import Ranked, merge

MAX_K, MAX_FRAMES = 1000, 1000  # the limits of the service
JSON = "application/json"


class Parsed(NamedTuple):
    """A valid request: unit vectors float32 [V, E] of all queries; query q has rows ``bounds[q]:bounds[q + 1]``."""

    request: SearchRequest
    vectors: np.ndarray
    bounds: list[int]

    @property
    def k(self) -> int:
        """Number of hits that each shard returns: one more than asked for, because a clip's own entry is left out."""
        return self.request.offset + self.request.k + 1


class Answers:
    """Validation, encoding and answers; both peers use it, so that they differ in nothing else."""

    def __init__(self, root: str) -> None:
        version = IndexVersion.open(root, verify=False)
        self.manifest, self.catalog, self.encoder = version.manifest, Catalog(version), version.encoder()
        part = self.manifest.corpus
        self.reader = ClipReader(part.path, part.fingerprint)

    def parse(self, body: bytes) -> Parsed:
        """Validate a request and encode its queries. Raises HTTPException 422 or 404."""
        try:
            request = SearchRequest.model_validate(json.loads(body))
        except ValidationError as error:
            raise HTTPException(422, error.errors(include_url=False, include_input=False)[0]["msg"]) from error
        if request.offset + request.k > MAX_K:
            raise HTTPException(422, f"offset + k is above the limit of {MAX_K}")
        parts = [self._encode(query, request) for query in request.queries]
        bounds = np.cumsum([0, *(len(part) for part in parts)]).tolist()
        return Parsed(request, np.concatenate(parts), bounds)

    def _encode(self, query: Any, request: SearchRequest) -> np.ndarray:
        if isinstance(query, VectorQuery):
            if len(query.vector) != self.manifest.dims:
                raise HTTPException(422, f"vector: the index has vectors of {self.manifest.dims}")
            return np.array([query.vector], np.float32)
        if isinstance(query, ClipQuery):
            try:
                clip = self.reader.clip(query.clip)
            except UnknownClip as error:
                raise HTTPException(404, "no such clip") from error
            poses, aspect = clip.poses, self.encoder.aspect_of(clip.source, clip.width, clip.height)
        elif isinstance(query, PosesQuery):
            poses, aspect = query.poses, self.encoder.aspect_of(query.source, query.width, query.height)
        else:
            raise HTTPException(422, "this index has no texts")
        if len(poses) > MAX_FRAMES:
            raise HTTPException(422, f"at most {MAX_FRAMES} frames")
        sides = (False, True) if request.mirror == "best" else (False,)
        return np.concatenate([self.encoder.embed([poses], aspect=aspect, mirror=side) for side in sides])

    def answer(self, parsed: Parsed, rankings: list[list[Ranked]]) -> bytes:
        """Return the body of the answer from the rankings of each shard, one for each row of ``parsed.vectors``."""
        request, results = parsed.request, list[Any]()
        for number, query in enumerate(request.queries):
            rows = range(parsed.bounds[number], parsed.bounds[number + 1])
            ranked = merge([shard[row] for shard in rankings for row in rows], parsed.k)
            own = query.clip if isinstance(query, ClipQuery) else None
            hits = self.catalog.hits(without(ranked, own, request.offset + request.k)[request.offset :])
            if request.min_score is not None:
                hits = [hit for hit in hits if hit.score >= request.min_score]
            results.append(QueryResult(hits=hits, verdict=self.catalog.verdict(hits)))
        shards = len(self.manifest.shards)
        return (
            SearchAnswer(results=results, index="signs", kind="signs", version=self.manifest.version,
                         synthetic=self.manifest.corpus.synthetic, entries=self.manifest.count, partial=False,
                         position=0, shards=ShardState(answered=shards, of=shards, missing=[]))
            .model_dump_json().encode()
        )  # fmt: skip


def uvicorn_app(root: str, pool: bool) -> FastAPI:
    """Return the application of one process: it computes in its event loop, or in one thread per core (``pool``)."""
    answers, app = Answers(root), FastAPI()
    search = SignSearch(IndexVersion.open(root, verify=False))
    executor = ThreadPoolExecutor(cores()) if pool else None

    def respond(body: bytes) -> bytes:
        parsed = answers.parse(body)
        return answers.answer(parsed, [shard.search(parsed.vectors, parsed.k) for shard in search.shards])

    @app.post("/v1/search")
    async def endpoint(request: Request) -> Response:
        body = await request.body()
        if executor is None:
            return Response(respond(body), media_type=JSON)
        return Response(await asyncio.get_running_loop().run_in_executor(executor, respond, body), media_type=JSON)

    return app


def main() -> None:
    import uvicorn

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", required=True, type=Path)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--pool", action="store_true", help="compute in one thread per core instead of the event loop")
    arguments = parser.parse_args()
    app = uvicorn_app(str(arguments.index), arguments.pool)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
