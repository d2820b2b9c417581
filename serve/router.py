"""The HTTP API: a FastAPI ingress that runs batches of searches on encoder and shards."""

# No `from __future__ import annotations` here: ray.serve.ingress rebuilds the endpoint signatures, and FastAPI cannot
# resolve string annotations in them.
import asyncio
import hmac
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from ray import serve

import signatlas
from serve import errors
from serve.config import ServeConfig, key_digest
from serve.deployments import LoadedVersions, Recording
from serve.engine import Engine, Search, SearchResult
from serve.errors import Problem, service_unavailable
from serve.request_body import read_json, read_upload
from serve.schemas import Info, PosesAnswer, SearchAnswer, SearchOptions, SearchRequest
from signatlas.errors import CorpusError, IndexVersionError
from signatlas.pose.serialization import parse_pose, to_json
from signatlas.retrieval.index_version import CorpusPart, IndexVersion
from signatlas.retrieval.queries import ClipReader, UnknownClip
from signatlas.retrieval.search import Catalog, Sign, without

PROBLEM = {"description": "An RFC 9457 problem document", "content": {errors.MEDIA_TYPE: {}}}
UPLOAD = {
    "type": "object",
    "required": ["file"],
    "properties": {"file": {"type": "string", "format": "binary"}, "top_k": {"type": "integer"},
                   "mirror": {"enum": ["none", "best"]}},
}  # fmt: skip


def _request_body(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


app = FastAPI(
    title="signatlas",
    version=signatlas.__version__,
    description="Find a sign by performing it.",
    responses={"default": PROBLEM},
    redoc_url=None,
)
errors.install(app)


@serve.ingress(app)
class Router:
    """Validates requests, runs searches in batches, and adds the metadata of each hit."""

    def __init__(self, config: ServeConfig, encoder: Any, shards: list[Any]) -> None:
        self.config = config
        self.loaded = LoadedVersions(self._load)
        self.readers: dict[str, ClipReader] = {}  # by corpus fingerprint
        self.engine = Engine(encoder, shards, self.loaded)
        batching: Any = self.search_batch
        batching.set_max_batch_size(config.batch_size)
        batching.set_batch_wait_timeout_s(config.batch_wait_s)

    def _load(self, version: str) -> Catalog:
        index_version = IndexVersion.open(self.config.index, version, verify=False)
        if len(index_version.manifest.shards) != len(self.engine.shards):
            raise IndexVersionError(
                f"version {version} has {len(index_version.manifest.shards)} shards, but the service was started with "
                f"{len(self.engine.shards)}: restart it"
            )
        return Catalog(index_version)

    async def _reader(self, part: CorpusPart) -> ClipReader:
        """Return a reader of the index's corpus. Raises CorpusError when it is missing or has another fingerprint."""
        if part.fingerprint not in self.readers:
            reader = await asyncio.to_thread(ClipReader, self.config.corpus or part.path, part.fingerprint)
            self.readers = {part.fingerprint: reader}
        return self.readers[part.fingerprint]

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        await self.loaded.switch(**user_config)

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.002, max_concurrent_batches=4)
    async def search_batch(self, batch: list[Search]) -> list[SearchResult | Exception]:
        return await self.engine.search(batch)

    def authorize(self, request: Request) -> None:
        """Raise a 401 if the service has an API key and the request does not."""
        expected = self.config.api_key_sha256
        if expected is None:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
        if not hmac.compare_digest(key_digest(key), expected):
            detail = "send the API key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
            raise Problem(401, detail, {"WWW-Authenticate": "Bearer"})

    @app.post("/v1/search", response_model=SearchAnswer,
              openapi_extra=_request_body("application/json", SearchRequest.model_json_schema()))  # fmt: skip
    async def search(self, request: Request) -> JSONResponse:
        """Find the signs most similar to a clip: given its poses, its id in the index's corpus, or its embedding."""
        self.authorize(request)
        query = SearchRequest.model_validate(await read_json(request, self.config.limits.body_bytes))
        if query.vector is not None:
            dims = self.loaded.get()[1].manifest.dims
            if len(query.vector) != dims:
                raise Problem(422, f"vector: {len(query.vector)} numbers, but the index has vectors of {dims}")
            return await self._answer([], np.array(query.vector, np.float32), query, None)
        poses, source, width, height = query.poses, query.source, query.width, query.height
        if query.clip is not None:
            clip = await self._clip(query.clip)
            poses, source, width, height = clip.poses, clip.source, clip.width, clip.height
        aspect = width / height if width and height else None
        return await self._answer(self._sides(poses, aspect, source, query), None, query, query.clip)

    @app.post(
        "/v1/search/video", response_model=SearchAnswer, openapi_extra=_request_body("multipart/form-data", UPLOAD)
    )
    async def search_video(self, request: Request) -> JSONResponse:
        """Find the signs most similar to an uploaded .pose file."""
        self.authorize(request)
        name, content, fields = await read_upload(request, self.config.limits.body_bytes)
        if Path(name).suffix.lower() != ".pose":
            raise Problem(415, f"'{name}' is not a .pose file; video is not supported: send poses")
        options = SearchOptions.model_validate(fields)
        pose_file = await asyncio.to_thread(parse_pose, content, name)
        sides = self._sides(pose_file.poses, pose_file.width / pose_file.height, None, options)
        return await self._answer(sides, None, options, None)

    def _sides(
        self, poses: np.ndarray, aspect: float | None, source: str | None, options: SearchOptions
    ) -> list[Recording]:
        """Return the recording to embed and, if ``options`` ask for it, its mirror image. Raises a 413."""
        if len(poses) > self.config.limits.frames:
            raise Problem(413, f"poses: {len(poses):,} frames; at most {self.config.limits.frames:,} are accepted")
        sides = (False, True) if options.mirror == "best" else (False,)
        return [Recording(poses, aspect, source, mirror) for mirror in sides]

    async def _answer(
        self, recordings: list[Recording], vector: np.ndarray | None, options: SearchOptions, leave_out: str | None
    ) -> JSONResponse:
        if options.top_k > self.config.limits.top_k:
            raise Problem(422, f"top_k: {options.top_k} is above the limit of {self.config.limits.top_k}")
        result = await self.search_batch(Search(recordings, vector, options.top_k + 1))
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
        """Return a clip of the index's corpus. Raises a 404 for an unknown id, a 503 if the corpus is unreadable."""
        part = self.loaded.get()[1].manifest.corpus
        try:
            reader = await self._reader(part)
            return await asyncio.to_thread(reader.clip, id)
        except UnknownClip as error:
            raise Problem(404, f"no clip '{id}' in the corpus {part.name}") from error
        except CorpusError as error:
            errors.logger.error("clips cannot be read: %s", error)
            raise service_unavailable(
                f"the corpus {part.name} is not available on the server; search by poses"
            ) from error

    # Ids contain slashes. This route comes first: the next one would take "/poses" for the end of an id.
    @app.get("/v1/signs/{id:path}/poses", response_model=PosesAnswer | Sign)
    async def sign_poses(self, request: Request, id: str) -> JSONResponse:
        """Return the poses of an indexed recording; missing coordinates are null."""
        self.authorize(request)
        catalog = self.loaded.get()[1]
        if id not in catalog and f"{id}/poses" in catalog:
            return JSONResponse(catalog.sign(f"{id}/poses").model_dump())
        self._require(catalog, id)
        clip = await self._clip(id)
        poses = await asyncio.to_thread(to_json, clip.poses, 5)
        return JSONResponse({"id": id, "fps": clip.fps, "width": clip.width, "height": clip.height, "poses": poses})

    @app.get("/v1/signs/{id:path}", response_model=Sign)
    async def sign(self, request: Request, id: str) -> JSONResponse:
        """Return the metadata of an indexed recording."""
        self.authorize(request)
        catalog = self.loaded.get()[1]
        self._require(catalog, id)
        return JSONResponse(catalog.sign(id).model_dump())

    @staticmethod
    def _require(catalog: Catalog, id: str) -> None:
        if id not in catalog:
            raise Problem(404, f"no sign '{id}' in this index")

    @app.get("/v1/info", response_model=Info)
    async def info(self, request: Request) -> JSONResponse:
        """Return version, model, corpus, counts, thresholds and limits of the service."""
        self.authorize(request)
        manifest = self.loaded.get()[1].manifest
        info = Info(
            signatlas=signatlas.__version__, index_version=manifest.version, created=manifest.created,
            corpus=manifest.corpus.name, license=manifest.corpus.license,
            sign_languages=manifest.corpus.sign_languages, sources=manifest.corpus.sources,
            synthetic=manifest.corpus.synthetic, count=manifest.count, shards=len(manifest.shards),
            dims=manifest.dims, factory=manifest.factory, model=Path(manifest.model.name).name,
            model_sha256=manifest.model.sha256, confidence=manifest.confidence.model_dump(),
            limits=self.config.limits.model_dump(),
        )  # fmt: skip
        return JSONResponse(info.model_dump())

    async def other_versions(self, version: str) -> list[str]:
        """Return a message for each deployment that does not serve ``version``, for instance "shard 1 serves v2"."""
        versions = {"router": self.loaded.get()[0], **await self.engine.versions(timeout_s=5)}
        return [
            f"{name} {'does not answer' if current is None else f'serves {current}'}"
            for name, current in versions.items()
            if current != version
        ]

    @app.get("/healthz")
    async def healthz(self) -> dict[str, str]:
        """Return 200 while the router runs."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz(self) -> JSONResponse:
        """Return 200 if encoder and shards answer and serve the version of the router, else 503."""
        version = self.loaded.get()[0]
        if messages := await self.other_versions(version):
            raise service_unavailable(f"not ready for index version {version}: {', '.join(messages)}")
        return JSONResponse({"status": "ready", "index_version": version, "shards": len(self.engine.shards)})

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page(self) -> HTMLResponse:
        text = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
        manifest = self.loaded.get()[1].manifest
        languages = ", ".join(manifest.corpus.sign_languages)
        contents = f"{manifest.count:,} {'synthetic' if manifest.corpus.synthetic else 'recorded'} signs ({languages})"
        return HTMLResponse(text.replace("{{contents}}", contents))
