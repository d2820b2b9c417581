"""Clients of a running service: `Client` blocks, `AsyncClient` is for asyncio. Both have the same methods."""

from __future__ import annotations

import json
import math
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TypeVar, Unpack
from urllib.parse import urlsplit

import numpy as np
from pydantic import BaseModel, ValidationError

from signatlas.client import requests
from signatlas.client.errors import ServiceError
from signatlas.client.requests import (
    AddOptions,
    Call,
    ClipQuery,
    EmbedOptions,
    PosesQuery,
    Query,
    SearchOptions,
    SigningQuery,
    TextQuery,
    TranslateOptions,
    VectorQuery,
)
from signatlas.client.retries import Policy, Response
from signatlas.client.schemas import (
    ChangeAnswer,
    EmbedAnswer,
    Indexes,
    Models,
    Progress,
    SearchAnswer,
    Sign,
    Token,
    TranslateAnswer,
)
from signatlas.errors import UserError

T = TypeVar("T", bound=BaseModel)
OnProgress = Callable[[Progress], object]
KEY = "SIGNATLAS_API_KEY"
TIMEOUT_S = 120.0  # more than a service takes for a video by default
RETRIES = 4


def _transports() -> ModuleType:
    """Import the module that needs httpx. Raises UserError where httpx is not installed."""
    try:
        import httpx  # noqa: F401
    except ImportError as error:
        raise UserError("a client of a service needs httpx: pip install 'signatlas[client]'") from error
    from signatlas.client import transport

    return transport


def _policy(url: str, key: str | None, timeout_s: float, retries: int) -> Policy:
    """Check the settings of a client. Raises UserError, which never repeats a key or a password."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        shown = url.rpartition("@")[2][:200]
        raise UserError(f"'{shown}' is not the address of a service: give one such as http://127.0.0.1:8000")
    if parts.username is not None or parts.query or parts.fragment:
        raise UserError(f"give the address of {parts.hostname} without user, query or fragment, and the key as api_key")
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise UserError(f"the API key contains spaces or characters outside ASCII: check api_key or {KEY}")
    if not 0 < timeout_s < math.inf:
        raise UserError(f"timeout_s is {timeout_s}: give a number of seconds above zero")
    if retries < 0:
        raise UserError(f"retries is {retries}: give 0 or more")
    return Policy(url.rstrip("/"), timeout_s, retries, key)


def _parse(policy: Policy, call: Call[T], response: Response) -> T:
    """Return the content of an answer as the call's schema. Raises ServiceError if it does not fit."""
    assert call.answer is not None
    try:
        return call.answer.model_validate(json.loads(response.content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        reason = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}".removeprefix(": ")
        raise ServiceError(
            f"{policy.url} is not a signatlas service, or of another version than this client: its answer to "
            f"{call.path.partition('?')[0][:100]} has another form ({policy.clean(reason)})"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ServiceError(f"{policy.url} is not a signatlas service: its answer is not JSON") from error


def _key(api_key: str | None) -> str | None:
    return (os.environ.get(KEY, "") if api_key is None else api_key).strip() or None


class Client:
    """Blocking client of the service at ``url``; threads may share it. Close it, or use it in a ``with`` statement.

    ``api_key`` is by default that of the environment variable SIGNATLAS_API_KEY. A request that the service sheds
    (429, 503) or that is lost with its connection or replica is sent again up to ``retries`` times, with growing pauses
    or after the service's Retry-After, but no call takes longer than ``timeout_s``. Options are those of
    :class:`SearchOptions`, :class:`TranslateOptions` and :class:`EmbedOptions`; with ``deadline_s``, the service is
    told how much time is left. Raises UserError for wrong settings, and where httpx is not installed; the methods raise
    ServiceError.
    """

    def __init__(self, url: str, api_key: str | None = None, *, timeout_s: float = TIMEOUT_S, retries: int = RETRIES):
        key = _key(api_key)
        self._policy = _policy(url, key, timeout_s, retries)
        self._transport = _transports().SyncTransport(self._policy, key)

    @property
    def url(self) -> str:
        """Address of the service."""
        return self._policy.url

    def search(self, queries: Query | Sequence[Query], **options: Unpack[SearchOptions]) -> SearchAnswer:
        """Search by one or several queries, and return a result or a problem for each.

        The failure of a lone query is raised as ServiceError.
        """
        return self._call(requests.search(queries, options))

    def search_text(self, text: str, language: str | None = None, **options: Unpack[SearchOptions]) -> SearchAnswer:
        """Search an index of clips by a sentence; ``language`` is a BCP 47 code such as de."""
        return self.search(TextQuery(text, language), **options)

    def search_poses(
        self,
        poses: np.ndarray,
        *,
        width: int | None = None,
        height: int | None = None,
        source: str | None = None,
        language: str | None = None,
        **options: Unpack[SearchOptions],
    ) -> SearchAnswer:
        """Search an index of signs or texts by poses [frames, 75, 3], described as in :class:`PosesQuery`."""
        return self.search(PosesQuery(poses, width, height, source, language), **options)

    def search_clip(self, id: str, *, language: str | None = None, **options: Unpack[SearchOptions]) -> SearchAnswer:
        """Search an index of signs or texts by a clip of its corpus."""
        return self.search(ClipQuery(id, language), **options)

    def search_vector(self, vector: np.ndarray | Sequence[float], **options: Unpack[SearchOptions]) -> SearchAnswer:
        """Search an index by an embedding [E] of its own model."""
        return self.search(VectorQuery(vector), **options)

    def search_pose_file(self, path: str | Path, **options: Unpack[SearchOptions]) -> SearchAnswer:
        """Search an index of signs or texts by a .pose file, which is uploaded as it is."""
        return self._call(requests.search_pose_file(path, options))

    def search_video(
        self, path: str | Path, *, progress: OnProgress | None = None, **options: Unpack[SearchOptions]
    ) -> SearchAnswer:
        """Search an index of signs or texts by a video, whose poses the service extracts.

        ``progress`` is called with the :class:`Progress` of the service, several times a second at most; a request with
        it is not repeated once the service has begun.
        """
        return self._run(requests.search_video(path, options, progress is not None), progress)

    def translate(
        self, queries: SigningQuery | Sequence[SigningQuery], **options: Unpack[TranslateOptions]
    ) -> TranslateAnswer:
        """Translate recordings into text, and return texts or a problem for each."""
        return self._call(requests.translate(queries, options))

    def translate_pose_file(self, path: str | Path, **options: Unpack[TranslateOptions]) -> TranslateAnswer:
        """Translate a .pose file, which is uploaded as it is."""
        return self._call(requests.translate_pose_file(path, options))

    def translate_video(
        self, path: str | Path, *, progress: OnProgress | None = None, **options: Unpack[TranslateOptions]
    ) -> TranslateAnswer:
        """Translate a video; ``progress`` as in :meth:`search_video`."""
        return self._run(requests.translate_video(path, options, progress is not None), progress)

    def stream_translation(
        self, signing: SigningQuery | str | Path, **options: Unpack[TranslateOptions]
    ) -> Iterator[Progress | Token | TranslateAnswer]:
        """Translate poses, a clip, or a video or .pose file, and yield progress, tokens, and at the end the answer.

        Tokens come with one beam, which is the default here. A request is not repeated once the service has begun.
        """
        call = requests.stream_translation(signing, options)
        for content in self._transport.events(call):
            yield _parse(self._policy, call, content) if isinstance(content, Response) else content

    def embed(self, queries: Query | Sequence[Query], **options: Unpack[EmbedOptions]) -> EmbedAnswer:
        """Encode queries with the model of an index, and return a vector (and tokens) or a problem for each."""
        return self._call(requests.embed(queries, options))

    def indexes(self) -> Indexes:
        """Return the indexes of the service, and its limits."""
        return self._call(requests.indexes())

    def models(self) -> Models:
        """Return the models of the service."""
        return self._call(requests.models())

    def sign(self, id: str, *, index: str | None = None) -> Sign:
        """Return the metadata of an indexed recording."""
        return self._call(requests.sign(id, index))

    def poses(self, id: str, *, index: str | None = None) -> np.ndarray:
        """Return the poses of an indexed recording, float32 [frames, 75, 3] in image units, NaN where missing."""
        return self._call(requests.poses(id, index)).poses

    def add_sign(
        self, poses: np.ndarray, *, idempotency_key: str | None = None, **sign: Unpack[AddOptions]
    ) -> ChangeAnswer:
        """Add a recording float32 [frames, 75, 3] in image units to an index of signs.

        It is stored once, also when the request has to be repeated; ``idempotency_key`` makes that so for repetitions
        of yours. Searches with the ``position`` of the answer see it at once. Raises PoseError.
        """
        return self._call(requests.add_sign(sign, poses, idempotency_key))

    def remove_sign(self, id: str, *, index: str | None = None, idempotency_key: str | None = None) -> ChangeAnswer:
        """Remove an entry from an index of signs, for good."""
        return self._call(requests.remove_sign(id, index, idempotency_key))

    def ready(self) -> bool:
        """Return whether every part of the service answers, without a retry. Raises ServiceError if nothing answers."""
        return bool(self._transport.run(requests.ready(), retries=0).status == 200)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def _call(self, call: Call[T]) -> T:
        return _parse(self._policy, call, self._transport.run(call))

    def _run(self, call: Call[T], progress: OnProgress | None) -> T:
        if progress is None:
            return self._call(call)
        for content in self._transport.events(call):
            if isinstance(content, Response):
                return _parse(self._policy, call, content)
            if isinstance(content, Progress):
                progress(content)
        raise AssertionError("unreachable: an answer without a last event is an error")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"


class AsyncClient:
    """Client of the service at ``url`` for asyncio, for use in one event loop; otherwise like :class:`Client`."""

    def __init__(self, url: str, api_key: str | None = None, *, timeout_s: float = TIMEOUT_S, retries: int = RETRIES):
        key = _key(api_key)
        self._policy = _policy(url, key, timeout_s, retries)
        self._transport = _transports().AsyncTransport(self._policy, key)

    @property
    def url(self) -> str:
        """Address of the service."""
        return self._policy.url

    async def search(self, queries: Query | Sequence[Query], **options: Unpack[SearchOptions]) -> SearchAnswer:
        """Search as :meth:`Client.search` does."""
        return await self._call(requests.search(queries, options))

    async def search_text(
        self, text: str, language: str | None = None, **options: Unpack[SearchOptions]
    ) -> SearchAnswer:
        """Search an index of clips as :meth:`Client.search_text` does."""
        return await self.search(TextQuery(text, language), **options)

    async def search_poses(
        self,
        poses: np.ndarray,
        *,
        width: int | None = None,
        height: int | None = None,
        source: str | None = None,
        language: str | None = None,
        **options: Unpack[SearchOptions],
    ) -> SearchAnswer:
        """Search as :meth:`Client.search_poses` does."""
        return await self.search(PosesQuery(poses, width, height, source, language), **options)

    async def search_clip(
        self, id: str, *, language: str | None = None, **options: Unpack[SearchOptions]
    ) -> SearchAnswer:
        """Search as :meth:`Client.search_clip` does."""
        return await self.search(ClipQuery(id, language), **options)

    async def search_vector(
        self, vector: np.ndarray | Sequence[float], **options: Unpack[SearchOptions]
    ) -> SearchAnswer:
        """Search as :meth:`Client.search_vector` does."""
        return await self.search(VectorQuery(vector), **options)

    async def search_pose_file(self, path: str | Path, **options: Unpack[SearchOptions]) -> SearchAnswer:
        """Search as :meth:`Client.search_pose_file` does."""
        return await self._call(requests.search_pose_file(path, options))

    async def search_video(
        self, path: str | Path, *, progress: OnProgress | None = None, **options: Unpack[SearchOptions]
    ) -> SearchAnswer:
        """Search as :meth:`Client.search_video` does."""
        return await self._run(requests.search_video(path, options, progress is not None), progress)

    async def translate(
        self, queries: SigningQuery | Sequence[SigningQuery], **options: Unpack[TranslateOptions]
    ) -> TranslateAnswer:
        """Translate as :meth:`Client.translate` does."""
        return await self._call(requests.translate(queries, options))

    async def translate_pose_file(self, path: str | Path, **options: Unpack[TranslateOptions]) -> TranslateAnswer:
        """Translate as :meth:`Client.translate_pose_file` does."""
        return await self._call(requests.translate_pose_file(path, options))

    async def translate_video(
        self, path: str | Path, *, progress: OnProgress | None = None, **options: Unpack[TranslateOptions]
    ) -> TranslateAnswer:
        """Translate as :meth:`Client.translate_video` does."""
        return await self._run(requests.translate_video(path, options, progress is not None), progress)

    async def stream_translation(
        self, signing: SigningQuery | str | Path, **options: Unpack[TranslateOptions]
    ) -> AsyncIterator[Progress | Token | TranslateAnswer]:
        """Translate and yield as :meth:`Client.stream_translation` does."""
        call = requests.stream_translation(signing, options)
        async with aclosing(self._transport.events(call)) as contents:
            async for content in contents:
                yield _parse(self._policy, call, content) if isinstance(content, Response) else content

    async def embed(self, queries: Query | Sequence[Query], **options: Unpack[EmbedOptions]) -> EmbedAnswer:
        """Encode queries as :meth:`Client.embed` does."""
        return await self._call(requests.embed(queries, options))

    async def indexes(self) -> Indexes:
        """Return the indexes of the service, and its limits."""
        return await self._call(requests.indexes())

    async def models(self) -> Models:
        """Return the models of the service."""
        return await self._call(requests.models())

    async def sign(self, id: str, *, index: str | None = None) -> Sign:
        """Return the metadata of an indexed recording."""
        return await self._call(requests.sign(id, index))

    async def poses(self, id: str, *, index: str | None = None) -> np.ndarray:
        """Return the poses of an indexed recording as :meth:`Client.poses` does."""
        return (await self._call(requests.poses(id, index))).poses

    async def add_sign(
        self, poses: np.ndarray, *, idempotency_key: str | None = None, **sign: Unpack[AddOptions]
    ) -> ChangeAnswer:
        """See :meth:`Client.add_sign`."""
        return await self._call(requests.add_sign(sign, poses, idempotency_key))

    async def remove_sign(
        self, id: str, *, index: str | None = None, idempotency_key: str | None = None
    ) -> ChangeAnswer:
        """See :meth:`Client.remove_sign`."""
        return await self._call(requests.remove_sign(id, index, idempotency_key))

    async def ready(self) -> bool:
        """Return whether every part of the service answers, as :meth:`Client.ready` does."""
        return bool((await self._transport.run(requests.ready(), retries=0)).status == 200)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def _call(self, call: Call[T]) -> T:
        return _parse(self._policy, call, await self._transport.run(call))

    async def _run(self, call: Call[T], progress: OnProgress | None) -> T:
        if progress is None:
            return await self._call(call)
        async with aclosing(self._transport.events(call)) as contents:
            async for content in contents:
                if isinstance(content, Response):
                    return _parse(self._policy, call, content)
                if isinstance(content, Progress):
                    progress(content)
        raise AssertionError("unreachable: an answer without a last event is an error")

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self.url!r})"
