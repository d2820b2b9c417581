"""The HTTP API: a FastAPI ingress that batches searches over encoder and shards."""

# No `from __future__ import annotations` here: ray.serve.ingress rebuilds the signatures of the endpoints, and FastAPI
# then cannot resolve annotations that are strings.
import asyncio
import hmac
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from ray import serve

import signatlas
from serve import errors as problems
from serve.config import ServeConfig, key_digest
from serve.deployments import Live, Recording
from serve.engine import Answered, Asked, Engine
from serve.errors import Problem, busy
from serve.request_body import read_json, read_upload
from serve.schemas import Info, PosesAnswer, SearchAnswer, SearchOptions, SearchRequest
from signatlas.errors import CorpusError, SnapshotError
from signatlas.pose.posefile import parse_pose
from signatlas.pose.posejson import to_json
from signatlas.retrieval.clips import ClipReader, UnknownClip
from signatlas.retrieval.index_version import Snapshot
from signatlas.retrieval.manifest import CorpusPart
from signatlas.retrieval.search import Catalog, Sign, without

PROBLEM = {"description": "What is wrong, as an RFC 9457 problem document", "content": {problems.MEDIA_TYPE: {}}}
UPLOAD = {
    "type": "object",
    "required": ["file"],
    "properties": {"file": {"type": "string", "format": "binary"}, "top_k": {"type": "integer"},
                   "mirror": {"enum": ["none", "best"]}},
}  # fmt: skip


def _takes(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


app = FastAPI(
    title="signatlas",
    version=signatlas.__version__,
    description="Find a sign by performing it.",
    responses={"default": PROBLEM},
    redoc_url=None,
)
problems.install(app)


@serve.ingress(app)
class Router:
    """Checks requests, has them answered in batches, and adds what the index knows of each hit."""

    def __init__(self, config: ServeConfig, encoder: Any, shards: list[Any]) -> None:
        self.config = config
        self.live = Live(self._load)
        self.readers: dict[str, ClipReader] = {}  # by fingerprint of the corpus
        self.engine = Engine(encoder, shards, self.live)
        batching: Any = self.answer_together
        batching.set_max_batch_size(config.batch_size)
        batching.set_batch_wait_timeout_s(config.batch_wait_s)

    def _load(self, version: str) -> Catalog:
        snapshot = Snapshot.open(self.config.index, version, verify=False)
        if len(snapshot.manifest.shards) != len(self.engine.shards):
            raise SnapshotError(f"{version} has {len(snapshot.manifest.shards)} shards: serve the index anew")
        return Catalog(snapshot)

    async def _reader(self, part: CorpusPart) -> ClipReader:
        """Raises CorpusError when the corpus is not at hand, or is not the one that the index was made from."""
        if part.fingerprint not in self.readers:
            reader = await asyncio.to_thread(ClipReader, self.config.corpus or part.path, part.fingerprint)
            self.readers = {part.fingerprint: reader}
        return self.readers[part.fingerprint]

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        await self.live.take(**user_config)

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.002, max_concurrent_batches=4)
    async def answer_together(self, batch: list[Asked]) -> list[Answered | Exception]:
        return await self.engine.answer(batch)

    def authorise(self, request: Request) -> None:
        """Raises a 401 unless the request carries the API key, where there is one."""
        expected = self.config.api_key_sha256
        if expected is None:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
        if not hmac.compare_digest(key_digest(given), expected):
            detail = "send the API key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
            raise Problem(401, detail, {"WWW-Authenticate": "Bearer"})

    @app.post("/v1/search", response_model=SearchAnswer,
              openapi_extra=_takes("application/json", SearchRequest.model_json_schema()))  # fmt: skip
    async def search(self, request: Request) -> JSONResponse:
        """Find the signs most like a clip: by its poses, by the id of a clip of the corpus, or by its embedding."""
        self.authorise(request)
        asked = SearchRequest.model_validate(await read_json(request, self.config.limits.body_bytes))
        if asked.vector is not None:
            dims = self.live.get()[1].manifest.dims
            if len(asked.vector) != dims:
                raise Problem(422, f"vector: {len(asked.vector)} numbers, this index holds vectors of {dims}")
            return await self._answer([], np.array(asked.vector, np.float32), asked, None)
        poses, source, width, height = asked.poses, asked.source, asked.width, asked.height
        if asked.clip is not None:
            clip = await self._clip(asked.clip)
            poses, source, width, height = clip.poses, clip.source, clip.width, clip.height
        aspect = width / height if width and height else None
        return await self._answer(self._sides(poses, aspect, source, asked), None, asked, asked.clip)

    @app.post("/v1/search/video", response_model=SearchAnswer, openapi_extra=_takes("multipart/form-data", UPLOAD))
    async def search_video(self, request: Request) -> JSONResponse:
        """Find the signs most like an uploaded .pose file."""
        self.authorise(request)
        name, content, fields = await read_upload(request, self.config.limits.body_bytes)
        if Path(name).suffix.lower() != ".pose":
            raise Problem(415, f"'{name}' is not a .pose file; video is not taken yet: send its poses as .pose")
        options = SearchOptions.model_validate(fields)
        read = await asyncio.to_thread(parse_pose, content, name)
        sides = self._sides(read.poses, read.width / read.height, None, options)
        return await self._answer(sides, None, options, None)

    def _sides(
        self, poses: np.ndarray, aspect: float | None, source: str | None, options: SearchOptions
    ) -> list[Recording]:
        if len(poses) > self.config.limits.frames:
            raise Problem(413, f"poses: {len(poses):,} frames; at most {self.config.limits.frames:,} are accepted")
        sides = (False, True) if options.mirror == "best" else (False,)
        return [Recording(poses, aspect, source, side) for side in sides]

    async def _answer(
        self, recordings: list[Recording], vector: np.ndarray | None, options: SearchOptions, leave_out: str | None
    ) -> JSONResponse:
        if options.top_k > self.config.limits.top_k:
            raise Problem(422, f"top_k: {options.top_k} answers; at most {self.config.limits.top_k} are given")
        result = await self.answer_together(Asked(recordings, vector, options.top_k + 1))
        if isinstance(result, Exception):
            raise result
        catalog = result.catalog
        hits = catalog.hits(without(result.ranked, leave_out, options.top_k))
        answer = SearchAnswer(
            index_version=catalog.manifest.version,
            synthetic=catalog.manifest.corpus.synthetic,
            verdict=catalog.verdict(hits),
            hits=hits,
        )
        return JSONResponse(answer.model_dump())

    async def _clip(self, id: str) -> Any:
        """A clip of the corpus that the live index was made from."""
        part = self.live.get()[1].manifest.corpus
        try:
            reader = await self._reader(part)
            return await asyncio.to_thread(reader.clip, id)
        except UnknownClip as error:
            raise Problem(404, f"no clip '{id}' in the corpus {part.name}") from error
        except CorpusError as error:
            problems.logger.error("clips cannot be read: %s", error)
            raise busy(f"the recordings of {part.name} are not at hand on this service; search by poses") from error

    # Ids hold slashes. The poses come first: the plain path would take "/poses" for the end of an id.
    @app.get("/v1/signs/{id:path}/poses", response_model=PosesAnswer | Sign)
    async def sign_poses(self, request: Request, id: str) -> JSONResponse:
        """The poses of an indexed recording, null where a coordinate is missing."""
        self.authorise(request)
        catalog = self.live.get()[1]
        if id not in catalog and f"{id}/poses" in catalog:
            return JSONResponse(catalog.sign(f"{id}/poses").model_dump())
        self._require(catalog, id)
        clip = await self._clip(id)
        poses = await asyncio.to_thread(to_json, clip.poses, 5)
        return JSONResponse({"id": id, "fps": clip.fps, "width": clip.width, "height": clip.height, "poses": poses})

    @app.get("/v1/signs/{id:path}", response_model=Sign)
    async def sign(self, request: Request, id: str) -> JSONResponse:
        """What the index knows of one recording."""
        self.authorise(request)
        catalog = self.live.get()[1]
        self._require(catalog, id)
        return JSONResponse(catalog.sign(id).model_dump())

    @staticmethod
    def _require(catalog: Catalog, id: str) -> None:
        if id not in catalog:
            raise Problem(404, f"no sign '{id}' in this index")

    @app.get("/v1/info", response_model=Info)
    async def info(self, request: Request) -> JSONResponse:
        """What is being served: version, model, corpus, counts, thresholds, limits."""
        self.authorise(request)
        m = self.live.get()[1].manifest
        info = Info(
            signatlas=signatlas.__version__, index_version=m.version, created=m.created,
            corpus=m.corpus.name, license=m.corpus.license, sign_languages=m.corpus.sign_languages,
            sources=m.corpus.sources, synthetic=m.corpus.synthetic, count=m.count, shards=len(m.shards),
            dims=m.dims, factory=m.factory, model=Path(m.model.name).name, model_sha256=m.model.sha256,
            confidence=m.confidence.model_dump(), limits=self.config.limits.model_dump(),
        )  # fmt: skip
        return JSONResponse(info.model_dump())

    async def behind(self, version: str) -> list[str]:
        """The parts that do not serve ``version``, and what they do instead."""
        parts = {"router": self.live.get()[0], **await self.engine.versions(timeout_s=5)}
        return [f"{name} {'does not answer' if found is None else f'serves {found}'}" for name, found in parts.items()
                if found != version]  # fmt: skip

    @app.get("/healthz")
    async def healthz(self) -> dict[str, str]:
        """The router runs."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz(self) -> JSONResponse:
        """200 only when the encoder and every shard answer, all with the version of the router."""
        version = self.live.get()[0]
        if behind := await self.behind(version):
            raise busy(f"not ready for index version {version}: {', '.join(behind)}")
        return JSONResponse({"status": "ready", "index_version": version, "shards": len(self.engine.shards)})

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page(self) -> HTMLResponse:
        text = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
        manifest = self.live.get()[1].manifest
        languages = ", ".join(manifest.corpus.sign_languages)
        what = f"{manifest.count:,} {'synthetic' if manifest.corpus.synthetic else 'recorded'} signs ({languages})"
        return HTMLResponse(text.replace("{{what}}", what))
