"""The HTTP API: a FastAPI ingress that admits requests, hands them to the parts of the service, and answers."""

# No `from __future__ import annotations` here: ray.serve.ingress rebuilds the endpoint signatures, and FastAPI cannot
# resolve string annotations in them.
import asyncio
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from ray import serve

import signatlas
from serve import answers, changes, errors, events, metrics
from serve.access import Access
from serve.admission import Running
from serve.batcher import SWITCH_INTERVAL_S
from serve.config import ServeConfig
from serve.errors import Problem
from serve.events import Emit
from serve.middleware import AnswerHeaders, allow_origins
from serve.openapi import DESCRIPTION, describe, request_body
from serve.parts import Parts
from serve.replicas import Deadline
from serve.request_body import BodyReader
from serve.request_log import RequestLog, log_requests
from serve.schemas import (
    AddRequest,
    ChangeAnswer,
    EmbedAnswer,
    EmbedRequest,
    Indexes,
    Models,
    PosesAnswer,
    Readiness,
    SearchAnswer,
    SearchOptions,
    SearchRequest,
    TranslateAnswer,
    TranslateOptions,
    TranslateRequest,
)
from serve.searcher import Searcher
from signatlas.errors import UserError
from signatlas.pose.serialization import to_json
from signatlas.retrieval.filters import misfit
from signatlas.retrieval.search import Sign

WEB = Path(__file__).parent / "web"
READY_S = 5.0

app = FastAPI(
    title="signatlas",
    version=signatlas.__version__,
    description=DESCRIPTION,
    docs_url=None,  # served from files of our own, see serve/openapi.py
    redoc_url=None,
    generate_unique_id_function=lambda route: route.name,  # short and stable: names in generated clients
)
errors.install(app)
describe(app)
app.add_middleware(AnswerHeaders)
app.add_middleware(RequestLog)


@serve.ingress(app)
class Gateway:
    """Checks keys and limits, parses bodies, and asks the indexes and translators of the service."""

    async def __init__(self, config: ServeConfig) -> None:  # type: ignore[misc]  # awaited by Ray Serve
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self.config, self.limits = config, config.gateway.limits
        allow_origins(config.gateway.cors_origins)
        log_requests(config.gateway.request_log)
        self.access = Access(config.gateway.authorization)
        self.bodies = BodyReader(self.limits)
        self.running = Running(self.limits.running, self.limits.waiting, self.limits.deadline_s)
        self.parts = Parts(config)
        await self.parts.start()
        self.uploads = self.parts.uploads
        self.access.follow()

    # Search

    @app.post("/v1/search", tags=["search"], response_model=SearchAnswer, openapi_extra=request_body(SearchRequest))
    async def search(self, request: Request) -> Response:
        """Find signs, clips or texts: one result for each query. A lone query's error is the response's status."""
        async with self.access.admit(request):
            started = time.monotonic()
            async with self.bodies.json(request, SearchRequest.model_validate) as body:
                return await self._search(body, body.queries, 1e3 * (time.monotonic() - started))

    @app.post(
        "/v1/search/video",
        tags=["search"],
        response_model=SearchAnswer,
        openapi_extra=request_body(SearchOptions, upload=True, stream=True),
    )
    async def search_video(self, request: Request) -> Response:
        """Find signs or texts by an uploaded video or .pose file; the fields of the form are the options of a search.

        With ``Accept: text/event-stream`` the answer is server-sent events: progress, and the result or problem.
        """
        async with AsyncExitStack() as held:
            await held.enter_async_context(self.access.admit(request))
            started = time.monotonic()
            upload = await held.enter_async_context(self.bodies.upload(request))
            longest = self.uploads.check(upload)
            options = SearchOptions.model_validate(answers.form_options(upload.fields))
            # What cannot be answered is refused before a video is decoded.
            if longest and self._searcher(options).manifest.kind == "clips":
                raise Problem(422, "this index of clips is searched by text or vector")
            deadline = self._deadline(options.deadline_s, longest or self.limits.deadline_s)

            async def work(emit: Emit | None) -> Response:
                query, stages = await self.uploads.query(upload, deadline, emit)
                parsed_ms = 1e3 * (time.monotonic() - started) - sum(stages.values())
                if emit is not None:
                    await emit("progress", {"stage": "search"})
                return await self._search(options, [query], parsed_ms, deadline, stages)

            streamed = events.is_wanted(request)
            return await events.answer(request, held, work, stream=streamed, seconds=deadline.left())

    def _searcher(self, options: SearchOptions) -> Searcher:
        """Return the searcher of an index that can answer with these options. Raises Problem."""
        searcher = self.parts.searcher(options.index)
        if options.offset + options.k > self.limits.k:
            raise Problem(422, f"k: offset + k is {options.offset + options.k}, above the limit of {self.limits.k}")
        manifest = searcher.manifest
        if options.group_by is not None and manifest.kind != "signs":
            raise Problem(422, f"group_by: the entries of an index of {manifest.kind} have no single gloss")
        if (message := misfit(options.filter, manifest.kind)) is not None:
            raise Problem(422, message)
        return searcher

    async def _search(
        self,
        options: SearchOptions,
        queries: list[Any],
        parsed_ms: float,
        deadline: Deadline | None = None,
        earlier: dict[str, float] | None = None,
    ) -> Response:
        """Search by ``queries``. ``earlier`` are stages before this one, in milliseconds."""
        deadline = deadline or self._deadline(options.deadline_s, self.limits.deadline_s)
        searcher = self._searcher(options)
        self._check_count(queries)
        manifest = searcher.manifest
        problems, accepted = answers.encoder_queries(queries, manifest, options.mirror == "best", self.limits)
        waiting = time.monotonic()
        async with self.running.slot(deadline.left()):
            wait_ms = 1e3 * (time.monotonic() - waiting)
            outcome = await searcher.search(accepted, options, deadline)
        stages = {"parse": parsed_ms, **(earlier or {}), "wait": wait_ms, **outcome.stages}
        metrics.observe_stages(searcher.config.name, stages)
        metrics.count_answer(searcher.config.name, bool(outcome.missing))
        answer = answers.search_answer(outcome, options, searcher.config.name)
        answer["results"] = answers.in_order(problems, answer["results"], len(queries))
        return answers.json_response(answer, answers.server_timing(stages))

    # Translation and embeddings

    @app.post(
        "/v1/translate",
        tags=["translation"],
        response_model=TranslateAnswer,
        openapi_extra=request_body(TranslateRequest, stream=True),
    )
    async def translate(self, request: Request) -> Response:
        """Translate signing into text. Machine translations can be fluent and wrong.

        With ``stream`` or ``Accept: text/event-stream`` the answer is server-sent events.
        """
        async with AsyncExitStack() as held:
            await held.enter_async_context(self.access.admit(request))
            body = await held.enter_async_context(self.bodies.json(request, TranslateRequest.model_validate))
            self.parts.translator(body.model)
            self._check_count(body.queries)
            deadline = self._deadline(body.deadline_s, self.limits.translation_deadline_s)

            async def work(emit: Emit | None) -> Response:
                return await self._translate(body, body.queries, deadline, emit)

            streamed = body.stream or events.is_wanted(request)
            return await events.answer(request, held, work, stream=streamed, seconds=deadline.left())

    @app.post(
        "/v1/translate/video",
        tags=["translation"],
        response_model=TranslateAnswer,
        openapi_extra=request_body(TranslateOptions, upload=True, stream=True),
    )
    async def translate_video(self, request: Request) -> Response:
        """Translate an uploaded video or .pose file; the fields of the form are the options of a translation.

        With ``stream`` or ``Accept: text/event-stream`` the answer is server-sent events.
        """
        async with AsyncExitStack() as held:
            await held.enter_async_context(self.access.admit(request))
            upload = await held.enter_async_context(self.bodies.upload(request))
            longest = self.uploads.check(upload)
            options = TranslateOptions.model_validate(upload.fields)
            self.parts.translator(options.model)
            deadline = self._deadline(options.deadline_s, longest or self.limits.translation_deadline_s)

            async def work(emit: Emit | None) -> Response:
                query, stages = await self.uploads.query(upload, deadline, emit)
                return await self._translate(options, [query], deadline, emit, stages)

            streamed = options.stream or events.is_wanted(request)
            return await events.answer(request, held, work, stream=streamed, seconds=deadline.left())

    async def _translate(
        self,
        options: TranslateOptions,
        queries: list[Any],
        deadline: Deadline,
        emit: Emit | None,
        earlier: dict[str, float] | None = None,
    ) -> Response:
        """Translate ``queries``. ``earlier`` are stages before this one, in milliseconds."""
        translator = self.parts.translator(options.model)
        waiting = time.monotonic()
        async with self.running.slot(deadline.left()):
            started = time.monotonic()
            if emit is not None:
                await emit("progress", {"stage": "translate"})
            answer = await translator.translate(queries, options, self.limits, deadline, emit)
        stages = {**(earlier or {}), "wait": 1e3 * (started - waiting), "translate": 1e3 * (time.monotonic() - started)}
        metrics.observe_stages(translator.config.name, stages)
        return answers.json_response(answer)

    @app.post("/v1/embed", tags=["search"], response_model=EmbedAnswer, openapi_extra=request_body(EmbedRequest))
    async def embed(self, request: Request) -> Response:
        """Encode queries with the model of an index."""
        async with self.access.admit(request), self.bodies.json(request, EmbedRequest.model_validate) as body:
            return await self._embed(body)

    async def _embed(self, body: EmbedRequest) -> Response:
        searcher = self.parts.searcher(body.index)
        deadline = self._deadline(body.deadline_s, self.limits.deadline_s)
        self._check_count(body.queries)
        problems, accepted = answers.encoder_queries(body.queries, searcher.manifest, False, self.limits)
        async with self.running.slot(deadline.left()):
            manifest, encoded = await searcher.embed(accepted, deadline)
        results = answers.in_order(problems, [answers.embedding(e, body.tokens) for e in encoded], len(body.queries))
        return answers.json_response({"results": results, "index": searcher.config.name, "version": manifest.version})

    def _check_count(self, queries: list[Any]) -> None:
        if len(queries) > self.limits.queries:
            raise Problem(413, f"queries: {len(queries)}; at most {self.limits.queries} are accepted in one request")

    def _deadline(self, seconds: float | None, limit: float) -> Deadline:
        return Deadline(min(seconds or limit, limit))

    # Additions and removals

    @app.post(
        "/v1/signs",
        tags=["catalog"],
        status_code=201,
        response_model=ChangeAnswer,
        responses={200: {"model": ChangeAnswer, "description": "the change of an earlier request with this key"}},
        openapi_extra=request_body(AddRequest),
    )
    async def add_sign(self, request: Request) -> Response:
        """Add a recording of a sign to an index of signs. Takes an Idempotency-Key."""
        async with self.access.admit(request) as key:
            changes.require_writer_key(key)
            unique = changes.idempotency_key(request, key)
            async with self.bodies.json(request, AddRequest.model_validate) as body:
                deadline = self._deadline(body.deadline_s, self.limits.deadline_s)
                async with self.running.slot(deadline.left()):
                    answer = await changes.add(self.parts, body, unique, self.limits, deadline)
                return answers.json_response(answer, status=200 if answer["repeated"] else 201)

    @app.delete("/v1/signs/{id:path}", tags=["catalog"], response_model=ChangeAnswer)
    async def remove_sign(self, request: Request, id: str, index: str | None = None) -> Response:
        """Remove an entry from an index of signs, for good: roll backs and rebuilds do not bring it back."""
        async with self.access.admit(request) as key:
            changes.require_writer_key(key)
            unique = changes.idempotency_key(request, key)
            deadline = self._deadline(None, self.limits.deadline_s)
            return answers.json_response(await changes.remove(self.parts, id, index, unique, deadline))

    # What the service has

    # Ids contain slashes. This route comes first: the next one would take "/poses" for the end of an id.
    @app.get("/v1/signs/{id:path}/poses", tags=["catalog"], response_model=PosesAnswer | Sign)
    async def get_sign_poses(self, request: Request, id: str, index: str | None = None) -> Response:
        """Return the poses of an indexed recording; missing coordinates are null."""
        async with self.access.admit(request):
            deadline = self._deadline(None, self.limits.deadline_s)
            try:
                searcher, row = await self.parts.entry(id, index, deadline)
            except Problem as problem:
                if problem.status != 404:
                    raise
                return answers.json_response(answers.sign((await self.parts.entry(f"{id}/poses", index, deadline))[1]))
            clip = await searcher.clip(id, deadline)
            if isinstance(clip, UserError):
                raise answers.problem_of(clip)
            poses = await asyncio.to_thread(to_json, clip.poses, 5)
            return answers.json_response(
                {"id": id, "fps": row["fps"], "width": clip.width, "height": clip.height, "poses": poses}
            )

    @app.get("/v1/signs/{id:path}", tags=["catalog"], response_model=Sign)
    async def get_sign(self, request: Request, id: str, index: str | None = None) -> Response:
        """Return the metadata of an entry of an index."""
        async with self.access.admit(request):
            _, row = await self.parts.entry(id, index, self._deadline(None, self.limits.deadline_s))
            return answers.json_response(answers.sign(row))

    @app.get("/v1/indexes", tags=["catalog"], response_model=Indexes)
    async def list_indexes(self, request: Request) -> Response:
        """Return the indexes of the service with version, model, corpus and counts, and the limits of a request."""
        async with self.access.admit(request):
            content = {"signatlas": signatlas.__version__, "indexes": self.parts.index_infos()}
            return answers.json_response({**content, "limits": self.limits.model_dump()})

    @app.get("/v1/models", tags=["catalog"], response_model=Models)
    async def list_models(self, request: Request) -> Response:
        """Return the models that translate."""
        async with self.access.admit(request):
            models = await self.parts.model_infos(READY_S)
            return answers.json_response({"signatlas": signatlas.__version__, "models": models})

    # For the command that started the service, by handle

    async def missing(self) -> list[str]:
        """Return what is missing for every replica of every part to serve the live version."""
        return await self.parts.readiness(READY_S)

    async def news(self) -> dict[str, tuple[str | None, str]]:
        """Return the live version of each index, and the updater's last message."""
        return await self.parts.news(READY_S)

    # Open to everyone

    @app.get("/readyz", tags=["health"], response_model=Readiness)
    async def ready(self) -> Response:
        """Return 200 if every replica of every part answers and serves the live version, else 503."""
        if missing := await self.missing():
            raise errors.service_unavailable(f"not ready: {'; '.join(missing)}")
        versions = {name: searcher.live for name, searcher in self.parts.searchers.items()}
        return answers.json_response({"status": "ready", "versions": versions})

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page(self) -> HTMLResponse:
        text = (WEB / "page.html").read_text(encoding="utf-8")
        return HTMLResponse(text.replace("{{contents}}", self.parts.summary()))
