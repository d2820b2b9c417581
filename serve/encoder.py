"""The encoder of an index's queries: recordings and sentences of several requests in one batch."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from serve import metrics
from serve.batcher import Batcher
from serve.config import IndexApplication
from serve.scaling import WorkMeter
from serve.versions import LoadedVersions, Reporter
from signatlas.errors import CorpusError, PoseError, TextError, UserError
from signatlas.retrieval.index_version import IndexVersion, current
from signatlas.retrieval.queries import ClipReader, PoseQuery, UnknownClip
from signatlas.retrieval.query_encoder import SentenceEncoder, SignQuery, SignQueryEncoder
from signatlas.retrieval.sentences import text_notes
from signatlas.text.language import check_language

TYPICAL_FRAMES = 50
CACHED_CLIPS = 4096  # vectors of clips asked for by id, of each version


class VersionMissing(Exception):
    """A replica has not loaded the requested index version."""


class Signing(NamedTuple):
    """Poses float32 [frames, 75, 3] in image units; width/height and source where known."""

    poses: np.ndarray
    aspect: float | None = None
    source: str | None = None


class EncoderQuery(NamedTuple):
    """One query: a ``text``, a ``signing`` or the id of a ``clip``; ``language`` is that of the text or of the hits."""

    text: str | None = None
    signing: Signing | None = None
    clip: str | None = None
    language: str | None = None
    mirror: bool = True


class Encoded(NamedTuple):
    """Unit vectors float32 [S, E], tokens float32 [T, E] where the model has them, and notes for the user."""

    vectors: np.ndarray
    tokens: np.ndarray | None = None
    language: str | None = None
    notes: tuple[str, ...] = ()


class LoadedEncoder:
    """The model of one index version, and its corpus for queries by clip."""

    def __init__(self, config: IndexApplication, version: str):
        import torch

        self.index_version = IndexVersion.open(config.index, version, verify=False)
        self.index_version.verify("model")
        self.manifest = self.index_version.manifest
        self.corpus = config.corpus or self.manifest.corpus.path
        self._reader: ClipReader | None = None
        self._cache: OrderedDict[tuple[str, bool], Encoded] = OrderedDict()
        use_gpu = config.encoder.choose_gpu(f"encoder of {config.name}", torch.cuda.is_available())
        device = "cuda" if use_gpu else "cpu"
        if self.manifest.kind == "signs":
            self.signs: SignQueryEncoder | None = SignQueryEncoder(self.index_version, device=device)
        else:
            self.signs, self.sentences = None, SentenceEncoder(self.index_version)
            self.sentences.model.to(device)

    def encode(self, queries: Sequence[EncoderQuery]) -> list[Encoded | UserError]:
        """Return each query encoded, or the error of its user."""
        results: list[Encoded | UserError | None] = [self._cached(query) for query in queries]
        open_ = [i for i, result in enumerate(results) if result is None]
        if self.signs is None:
            for i in open_:
                results[i] = self._sentence(queries[i])
        else:
            for i, encoded in zip(open_, self._signs([queries[i] for i in open_]), strict=True):
                results[i] = encoded
        for query, result in zip(queries, results, strict=True):
            if query.clip is not None and isinstance(result, Encoded):
                self._cache[query.clip, query.mirror] = result
                if len(self._cache) > CACHED_CLIPS:
                    self._cache.popitem(last=False)
        return [result for result in results if result is not None]

    def clip(self, id: str) -> PoseQuery:
        """Read a clip of the index's corpus. Raises UnknownClip and CorpusError."""
        if self._reader is None:
            self._reader = ClipReader(self.corpus, self.manifest.corpus.fingerprint)
        clip = self._reader.clip(id)
        return PoseQuery(clip.id, clip.poses, clip.width, clip.height, clip.source, clip.id, clip.gloss)

    def _cached(self, query: EncoderQuery) -> Encoded | None:
        cached = self._cache.get((query.clip, query.mirror)) if query.clip is not None else None
        if cached is None or self.signs is not None or query.language is None:
            return cached
        return None if query.language != cached.language else cached

    def _signs(self, queries: Sequence[EncoderQuery]) -> list[Encoded | UserError]:
        results: list[Encoded | UserError] = [PoseError("this index of single signs is searched by poses or clip")]
        results *= len(queries)
        recordings: list[tuple[int, SignQuery]] = []
        for number, query in enumerate(queries):
            try:
                if query.clip is not None:
                    clip = self.clip(query.clip)
                    recordings.append((number, SignQuery(clip.poses, clip.aspect, clip.source, query.mirror)))
                elif query.signing is not None:
                    recordings.append((number, SignQuery(*query.signing, query.mirror)))
            except UserError as error:
                results[number] = error
        assert self.signs is not None
        embedded = self.signs.embed([recording for _, recording in recordings])
        for (number, _), vectors in zip(recordings, embedded, strict=True):
            results[number] = vectors if isinstance(vectors, UserError) else Encoded(vectors)
        return results

    def _sentence(self, query: EncoderQuery) -> Encoded | UserError:
        """Encode one query by itself: then its tokens, and so its scores, do not depend on other requests."""
        try:
            if self.manifest.kind == "clips":
                return self._text(query)
            language = None
            if query.language is not None:
                language = check_language(query.language, self.manifest.languages)
            if query.clip is not None:
                clip = self.clip(query.clip)
            elif query.signing is not None:
                clip = PoseQuery("poses", query.signing.poses, source=query.signing.source)
                if query.signing.aspect is not None:
                    clip = clip._replace(width=round(1e6 * query.signing.aspect), height=1_000_000)
            else:
                raise TextError("this index of texts is searched by poses or clip")
            encoded = self.sentences.encode_clip(clip)
            return Encoded(encoded.vector[None], self._tokens(encoded.tokens), language)
        except UserError as error:
            return error

    def _text(self, query: EncoderQuery) -> Encoded:
        if query.text is None:
            raise TextError("this index of clips is searched by text")
        model = self.sentences.model
        if query.language is not None:
            check_language(query.language, model.record.get("languages", ()))
        (encoded,) = self.sentences.encode_texts([query.text])
        return Encoded(encoded.vector[None], self._tokens(encoded.tokens), None, tuple(text_notes(model, query.text)))

    def _tokens(self, tokens: np.ndarray) -> np.ndarray | None:
        return tokens if self.manifest.tokens else None


class Encoder:
    """A replica of the encoder."""

    def __init__(self, config: IndexApplication) -> None:
        import torch

        torch.set_num_threads(config.encoder.threads)
        self.config = config
        self._work = WorkMeter()
        self.versions: LoadedVersions[LoadedEncoder] = LoadedVersions(lambda version: LoadedEncoder(config, version))
        options = config.encoder
        self._batcher: Batcher[tuple[str, EncoderQuery, float], Encoded] = Batcher(
            self._run,
            max_size=options.max_batch_size,
            wait_s=options.batch_wait_timeout_s,
            observe=functools.partial(metrics.observe_batch, config.name, "encoder"),
        )

    async def start(self, updater: Any) -> None:
        """Load the versions that the updater wants, and follow it. Raises UserError."""
        await Reporter("encoder", updater, self.versions).start(
            lambda: self.config.version or current(self.config.index)
        )

    async def encode(self, version: str, queries: Sequence[EncoderQuery], seconds: float) -> list[Encoded | UserError]:
        """Encode queries within ``seconds``; each result is an encoding or the error of its own query.

        Raises VersionMissing and TimeoutError.
        """
        if self.versions.get(version) is None:
            raise VersionMissing(version)
        deadline = time.monotonic() + seconds
        work = float(sum(map(_size, queries)))
        self._work.add(work)
        tasks = [asyncio.ensure_future(self._batcher.submit((version, query, deadline))) for query in queries]
        try:
            results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), seconds)
        finally:
            self._work.remove(work)
            for task in tasks:
                task.cancel()
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, UserError):
                raise result
        return [result for result in results if isinstance(result, Encoded | UserError)]

    async def _run(self, batch: Sequence[tuple[str, EncoderQuery, float]]) -> list[Encoded | BaseException]:
        results: list[Encoded | BaseException] = [TimeoutError("late")] * len(batch)
        for version in {version for version, _, _ in batch}:
            loaded = self.versions.get(version)
            due = [i for i, (v, _, deadline) in enumerate(batch) if v == version and deadline > time.monotonic()]
            if loaded is None:
                encoded: Sequence[Encoded | BaseException] = [VersionMissing(version)] * len(due)
            else:
                started = time.monotonic()
                encoded = await asyncio.to_thread(loaded.encode, [batch[i][1] for i in due])
                self._work.measure(sum(_size(batch[i][1]) for i in due), time.monotonic() - started)
            for i, result in zip(due, encoded, strict=True):
                results[i] = result
        return results

    async def clip(self, version: str, id: str) -> PoseQuery | UserError:
        """Return a clip of the index's corpus, or the error that it is unknown or cannot be read."""
        loaded = self.versions.get(version)
        if loaded is None:
            raise VersionMissing(version)
        try:
            return await asyncio.to_thread(loaded.clip, id)
        except UserError as error:
            return error

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Return queued work and the measured rate, which Ray Serve scales the encoder by."""
        return self._work.stats()


def _size(query: EncoderQuery) -> int:
    """Return the work of a query in frames. Texts and clips by id count as a short recording."""
    return TYPICAL_FRAMES if query.signing is None else len(query.signing.poses)


def status_of(error: UserError) -> int:
    """Return the HTTP status of a query's error."""
    if isinstance(error, UnknownClip):
        return 404
    return 503 if isinstance(error, CorpusError) else 422
