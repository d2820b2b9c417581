"""The indexes and translators of a service as a gateway sees them: in its own process, or applications by handle."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

from serve.answers import check_signing, problem_of
from serve.batcher import LocalHandle
from serve.config import IndexApplication, Limits, ServeConfig, TranslatorApplication
from serve.errors import Problem, service_unavailable, shown
from serve.replicas import LOST, Deadline, ask_replicas, result_of, stream_of
from serve.schemas import PosesQuery, TranslateOptions
from serve.searcher import Searcher
from serve.uploads import Uploads
from signatlas.errors import UserError
from signatlas.retrieval.index_version import IndexVersion

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

    from serve.events import Emit

PREFIX = "signatlas-"


def application_name(name: str) -> str:
    """Return the name of a Ray Serve application of the service."""
    return PREFIX + name


def writer_name(index: str) -> str:
    """Return the name of the application of an index's writer; no index or model can have it."""
    return f"{index}.writer"


def num_shards(application: IndexApplication) -> int:
    """Return the number of shard deployments of an index. Raises IndexVersionError."""
    if application.shards is not None:
        return application.shards
    return len(IndexVersion.open(application.index, application.version, verify=False).manifest.shards)


class Parts:
    """Searchers by index name and translators by model name."""

    def __init__(self, config: ServeConfig):
        self.config = config
        self.searchers: dict[str, Searcher] = {}
        self.translators: dict[str, TranslatorClient] = {}
        self.writers: dict[str, Any] = {}
        self.uploads = Uploads(config.gateway.limits)

    async def start(self) -> None:
        """Load what is colocated, connect to the rest. A part that is not there yet is answered with 503."""
        for application in self.config.indexes():
            count = await asyncio.to_thread(num_shards, application)
            if application.colocate:
                encoder, shards, updater, start = _local_parts(application, count)
                await start()
            else:
                name = application_name(application.name)
                encoder, updater = _handle("Encoder", name), _handle("Updater", name)
                shards = [_handle(f"Shard{n}", name) for n in range(count)]
            self.searchers[application.name] = Searcher(application, encoder, shards, updater)
            self.searchers[application.name].follow()
            if application.writer is not None:
                self.writers[application.name] = _handle("Writer", application_name(writer_name(application.name)))
        for translator in self.config.translators():
            handle = _handle("Translator", application_name(translator.name))
            self.translators[translator.name] = TranslatorClient(translator, handle)
        if self.config.extractor is not None:
            handle = _handle("Extractor", application_name("extractor"))
            self.uploads = Uploads(self.config.gateway.limits, self.config.extractor, handle)

    def searcher(self, name: str | None) -> Searcher:
        """Return the searcher of an index. Raises a Problem (404, 422)."""
        searcher: Searcher = _choose(self.searchers, self._application(name), "index")
        return searcher

    def writer(self, index: str) -> Any:
        """Return the handle of an index's writer. Raises a 403 Problem where the index takes no changes."""
        if index not in self.writers:
            raise Problem(403, f"the index {index} takes no changes: give it a writer in the service's configuration")
        return self.writers[index]

    async def entry(self, id: str, name: str | None, deadline: Deadline) -> tuple[Searcher, dict[str, Any]]:
        """Return an entry's columns and its index: the named one, else the first that has it. Raises a 404 Problem."""
        searchers = [self.searcher(name)] if name is not None else list(self.searchers.values())
        for searcher in searchers:
            if searcher.live is not None and (row := await searcher.row(id, deadline)) is not None:
                return searcher, row
        raise Problem(404, "no such entry in this index" if len(searchers) == 1 else "no such entry in these indexes")

    def translator(self, name: str | None) -> TranslatorClient:
        """Return the translator of a model. Raises a Problem (404, 422)."""
        translator: TranslatorClient = _choose(self.translators, self._application(name), "model")
        return translator

    def _application(self, name: str | None) -> str | None:
        """Return the application that a name or an alias means."""
        return name if name is None else self.config.aliases.get(name, name)

    def _aliases(self, name: str) -> list[str]:
        return [alias for alias, other in self.config.aliases.items() if other == name]

    async def readiness(self, seconds: float) -> list[str]:
        """Return what is missing for the service to be whole."""
        searchers = [searcher.readiness(seconds) for searcher in self.searchers.values()]
        checks = [*searchers, *(translator.readiness(seconds) for translator in self.translators.values())]
        checks.append(self.uploads.readiness(seconds))
        return [message for messages in await asyncio.gather(*checks) for message in messages]

    async def news(self, seconds: float) -> dict[str, tuple[str | None, str]]:
        """Return the live version of each index and the last message of its updater."""

        async def ask(searcher: Searcher) -> tuple[str | None, str]:
            try:
                status = await asyncio.wait_for(result_of(searcher.updater.status.remote()), seconds)
            except Exception:
                return searcher.live, ""
            return status["live"], status["message"]

        answers = await asyncio.gather(*map(ask, self.searchers.values()))
        return dict(zip(self.searchers, answers, strict=True))

    def index_infos(self) -> list[dict[str, Any]]:
        """Return one IndexInfo for each index that is ready."""
        infos = []
        for name, searcher in self.searchers.items():
            if searcher.live is None:
                continue
            m = searcher.manifest
            infos.append({
                "name": name, "aliases": self._aliases(name),
                "kind": m.kind, "version": m.version, "created": m.created, "corpus": m.corpus.name,
                "license": m.corpus.license, "sign_languages": m.corpus.sign_languages, "languages": m.languages,
                "sources": m.corpus.sources, "synthetic": m.corpus.synthetic, "count": m.count,
                "shards": len(m.shards), "dims": m.dims, "factory": m.factory,
                "model": _model_name(m.model.name), "model_sha256": m.model.sha256,
                "confidence": m.confidence.model_dump(), "nprobe": searcher.config.nprobe, "ef": searcher.config.ef,
                "filters": searcher.filters,
                "additions": name in self.writers, "position": searcher.position,
            })  # fmt: skip
        return infos

    async def model_infos(self, seconds: float) -> list[dict[str, Any]]:
        """Return one ModelInfo for each translator that answers."""
        infos = await asyncio.gather(*(t.info(seconds) for t in self.translators.values()))
        return [info for info in infos if info is not None]

    def summary(self) -> str:
        """Return the contents of the service in a few words."""
        words = {"signs": "recorded signs", "clips": "clips", "texts": "texts"}
        parts = []
        for searcher in self.searchers.values():
            if searcher.live is not None:
                m = searcher.manifest
                kind = "synthetic signs" if m.corpus.synthetic and m.kind == "signs" else words[m.kind]
                parts.append(f"{m.count:,} {kind} ({', '.join(m.corpus.sign_languages)})")
        parts += [f"the translator {name}" for name in self.translators]
        return ", ".join(parts) or "nothing yet"


class TranslatorClient:
    """Translates through the replicas of one translator."""

    def __init__(self, config: TranslatorApplication, handle: Any):
        self.config, self.handle = config, handle
        self._info: dict[str, Any] | None = None

    async def translate(
        self,
        queries: list[Any],
        options: TranslateOptions,
        limits: Limits,
        deadline: Deadline,
        emit: Emit | None = None,
    ) -> dict[str, Any]:
        """Return the answer to a request. Raises the problem of a query that came alone, and Problem (503, 504).

        ``emit`` sends the tokens of a lone query with one beam as they are made.
        """
        from serve.translator import TranslationInput, TranslationOptions

        inputs, problems = [], {}
        for number, query in enumerate(queries):
            try:
                if isinstance(query, PosesQuery):
                    signing = check_signing(query, limits)
                    inputs.append(TranslationInput(*signing, None, query.fps))
                else:
                    inputs.append(TranslationInput(clip=query.clip))
            except Problem as problem:
                problems[number] = problem
        settings = TranslationOptions(options.num_beams, options.n_best, options.max_new_tokens, options.length_penalty)
        if emit is not None and options.num_beams == len(queries) == len(inputs) == 1:
            given = iter([await self._stream(inputs[0], settings, deadline, emit)])
        else:
            given = iter(await self._ask(inputs, settings, deadline) if inputs else [])
        results: list[dict[str, Any]] = []
        for number in range(len(queries)):
            result = problems[number] if number in problems else next(given)
            if isinstance(result, Exception):
                failure = _translation_problem(result)
                if len(queries) == 1:
                    raise failure
                results.append({"problem": failure.document()})
            else:
                results.append({"texts": result.texts, "notes": list(result.notes)})
        info = await self.info(deadline.require()) or {}
        return {
            "results": results, "model": self.config.name, "language": info.get("language", ""),
            "weights": info.get("weights", ""),
        }  # fmt: skip

    async def _ask(self, inputs: list[Any], settings: Any, deadline: Deadline) -> list[Any]:
        def call(seconds: float) -> Any:
            return self.handle.translate.remote(inputs, settings, seconds)

        with _translator_problems():
            # Not hedged: under load a second call would double the work.
            results: list[Any] = await ask_replicas(call, deadline.require(), None)
            return results

    async def _stream(self, signing: Any, settings: Any, deadline: Deadline, emit: Emit) -> Any:
        """Return the result of a query, after its tokens as events: joined, they are the text of the result."""
        result, sent = None, ""
        handle = self.handle.options(stream=True)
        with _translator_problems():
            async with asyncio.timeout(deadline.require()):
                response = handle.translate_stream.remote(signing, settings, deadline.require())
                async with aclosing(stream_of(response)) as items:
                    async for item in items:
                        text = item if isinstance(item, str) else item.texts[0] if hasattr(item, "texts") else ""
                        # A text may change at its end with its next token: what was sent stays.
                        if len(text) > len(sent) and text.startswith(sent):
                            await emit("token", {"text": text[len(sent) :]})
                            sent = text
                        result = item
        if result is None or isinstance(result, str):
            raise service_unavailable("the translator restarts: try again", 2)
        return result

    async def info(self, seconds: float) -> dict[str, Any] | None:
        """Return the model's ModelInfo, None while it does not answer."""
        if self._info is None:
            try:
                described = await asyncio.wait_for(result_of(self.handle.describe.remote()), seconds)
            except Exception:
                return None
            self._info = {**described, "name": self.config.name, "task": "translate"}
        return self._info

    async def readiness(self, seconds: float) -> list[str]:
        """Return what is missing. A translator that may scale to zero is ready without replicas."""
        scaling = self.config.translator.autoscaling_config or {}
        if scaling.get("min_replicas") == 0:
            return []
        try:
            await asyncio.wait_for(result_of(self.handle.describe.remote()), seconds)
        except Exception as error:
            return [f"{self.config.name}: the translator does not answer ({type(error).__name__})"]
        return []


@contextmanager
def _translator_problems() -> Iterator[None]:
    """Raise the Problem (503, 504) of a translator that does not answer, or not in time."""
    try:
        yield
    except TimeoutError:
        raise Problem(504, "the translation was not finished by the deadline: allow more time") from None
    except LOST as error:
        raise service_unavailable("the translator has too much to do or restarts: try again", 2) from error


def _local_parts(config: IndexApplication, num_shards: int) -> tuple[Any, list[Any], Any, Any]:
    """Return encoder, shards and updater as objects of this process, and a coroutine function that starts them."""
    from serve.encoder import Encoder
    from serve.shard import Shard
    from serve.updater import Updater

    updater = Updater(config, num_shards)
    encoder, shards = Encoder(config), [Shard(config, n, num_shards) for n in range(num_shards)]
    updater_handle = LocalHandle(updater)

    async def start() -> None:
        updater.follow(None)
        await asyncio.gather(encoder.start(updater_handle), *(shard.start(updater_handle) for shard in shards))

    return LocalHandle(encoder), [LocalHandle(shard) for shard in shards], updater_handle, start


def _model_name(path: str) -> str:
    """Return the name of a model folder: that of its run for RUN/model; nothing else of the path."""
    folders = path.rstrip("/").split("/")
    return folders[-2] if folders[-1] == "model" and len(folders) > 1 else folders[-1]


def _translation_problem(error: Exception) -> Problem:
    if isinstance(error, TimeoutError):
        return Problem(504, "the translation was not finished by the deadline: allow more time")
    if isinstance(error, UserError | Problem):
        return problem_of(error)
    return Problem(500, "internal error; the server log has the details")


def _handle(deployment: str, application: str) -> DeploymentHandle:
    from ray import serve

    return serve.get_deployment_handle(deployment, app_name=application)


def _choose(parts: dict[str, Any], name: str | None, what: str) -> Any:
    if name is not None:
        if name not in parts:
            raise Problem(404, f"no {what} '{shown(name, 63)}': there are {', '.join(parts) or 'none'}")
        return parts[name]
    if len(parts) != 1:
        choice = f"name one of {', '.join(parts)} as '{what}'" if parts else f"this service has no {what}"
        raise Problem(422 if parts else 404, choice)
    return next(iter(parts.values()))
