"""The way of a search: encode the queries, ask every shard in time, merge. Runs in the process of the gateway."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from ray.serve.exceptions import BackPressureError

from serve import metrics
from serve.batcher import Batcher
from serve.config import IndexApplication
from serve.encoder import Encoded, EncoderQuery, Signing, VersionMissing
from serve.errors import Problem, service_unavailable
from serve.replicas import BATCH_PATIENCE_S, BATCHES_IN_FLIGHT, LOST, Deadline, ShardClient, ask_replicas, result_of
from serve.schemas import SearchOptions
from serve.versions import REPORT_S, REPORT_TIMEOUT_S, Report, Target
from signatlas.errors import LogError, UserError
from signatlas.retrieval.index_version import Kind, Manifest
from signatlas.retrieval.queries import PoseQuery, UnknownClip
from signatlas.retrieval.shard_search import ShardQuery, ShardResult, merge_results

logger = logging.getLogger("ray.serve")
T = TypeVar("T")
ENCODER_HEDGE_S = 2.0  # with several encoder replicas: ask a second one after this time
VERSION_ATTEMPTS, VERSION_PAUSE_S = 40, 0.1


class Found(NamedTuple):
    """Hits of one query, as (score, row), and the number of pairs scored token by token."""

    result: ShardResult
    encoded: Encoded


class Outcome(NamedTuple):
    """The results of a request's queries, all from one version, and the names of shards that did not answer."""

    manifest: Manifest
    results: list[Found | UserError]
    missing: list[str]
    stages: dict[str, float]  # stage -> milliseconds
    position: int  # operations of the log up to this one are applied


class Searcher:
    """Searches one index through its encoder and shards. All parts of an answer come from one version."""

    def __init__(self, config: IndexApplication, encoder: Any, shards: list[Any], updater: Any):
        self.config, self.encoder, self.updater = config, encoder, updater
        self.shards = [ShardClient(number, handle, config) for number, handle in enumerate(shards)]
        self.manifests: dict[str, Manifest] = {}
        self.filters: dict[str, list[Any]] = {}  # of the live version, as filters.available
        self.live: str | None = None
        self.encoder_replicas = 1
        self.position = 0  # of the last operation in the index's log that is known here
        self.replica = uuid.uuid4().hex[:12]
        self._task: asyncio.Task[None] | None = None
        self._encoders: dict[str, Batcher[tuple[EncoderQuery, float], Encoded]] = {}

    def follow(self) -> None:
        """Start to follow the updater, if that has not begun."""
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._follow())

    async def _follow(self) -> None:
        while True:
            try:
                await self._look()
            except Exception as error:  # the updater restarts, or Ray has a hiccup: go on with what is known
                logger.debug("%s: the updater does not answer: %s", self.config.name, error)
            await asyncio.sleep(REPORT_S if self.live else 0.1)

    async def _look(self) -> None:
        report = Report("gateway", self.replica, (), self.live)
        target: Target = await asyncio.wait_for(result_of(self.updater.report.remote(report)), REPORT_TIMEOUT_S)
        if target.live is not None and target.live not in self.manifests:
            raw = await asyncio.wait_for(result_of(self.updater.info.remote(target.live)), 30)
            self.filters = raw.pop("filters")
            kept = {self.live: self.manifests[self.live]} if self.live else {}
            self.manifests = {**kept, target.live: Manifest.model_validate({**raw, "files": {}})}
        if target.live is not None:
            metrics.set_version(self.config.name, target.live, self.live)
            self.live = target.live
        self.knows(target.position)
        replicas = await asyncio.wait_for(result_of(self.updater.replicas.remote()), REPORT_TIMEOUT_S)
        for shard in self.shards:
            shard.replicas = replicas.get(f"shard {shard.number}", 1)
        self.encoder_replicas = replicas.get("encoder", 1)

    def knows(self, position: int) -> None:
        """Have all searches from now on see the operations of the log up to ``position``."""
        self.position = max(self.position, position)
        metrics.set_log_position(self.config.name, "gateway", self.position)

    @property
    def manifest(self) -> Manifest:
        """The manifest of the live version. Raises a 503 Problem while the index is not there."""
        if self.live is None:
            raise service_unavailable(f"the index {self.config.name} is not ready yet: see /readyz")
        return self.manifests[self.live]

    async def search(
        self,
        queries: Sequence[EncoderQuery | np.ndarray],
        options: SearchOptions,
        deadline: Deadline,
    ) -> Outcome:
        """Search by queries to encode or by unit vectors float32 [E]. Raises Problem (503, 504)."""
        return await self._in_live_version(lambda m: self._search(m, queries, options, deadline), deadline)

    async def embed(
        self, queries: Sequence[EncoderQuery | np.ndarray], deadline: Deadline
    ) -> tuple[Manifest, list[Encoded | UserError]]:
        """Return the manifest of the version, and each query encoded or its user's error. Raises Problem (503, 504)."""

        async def encode(manifest: Manifest) -> tuple[Manifest, list[Encoded | UserError]]:
            return manifest, await self.encode(manifest.version, queries, deadline)

        return await self._in_live_version(encode, deadline)

    async def _in_live_version(self, call: Callable[[Manifest], Awaitable[T]], deadline: Deadline) -> T:
        """Call with the manifest of the live version, again for a moment where a part has not loaded it."""
        for _ in range(VERSION_ATTEMPTS):
            try:
                return await call(self.manifest)
            except VersionMissing:
                # A replica that has just started, or one that has let go of a version: both follow within a second.
                deadline.require()
                await asyncio.sleep(VERSION_PAUSE_S)
        raise service_unavailable("the index is being switched to another version: try again")

    async def _search(
        self, manifest: Manifest, queries: Sequence[EncoderQuery | np.ndarray], options: SearchOptions,
        deadline: Deadline,
    ) -> Outcome:  # fmt: skip
        started = time.monotonic()
        known = self.position
        position = max(known, options.position or 0)
        encoded = await self.encode(manifest.version, queries, deadline)
        encoded_at = time.monotonic()
        wanted = [
            None if isinstance(e, UserError) else _shard_query(query, e, options, manifest.kind, self.config)
            for query, e in zip(queries, encoded, strict=True)
        ]
        answers = await asyncio.gather(
            *(self._ask_shard(shard, manifest.version, wanted, deadline, position) for shard in self.shards)
        )
        searched_at = time.monotonic()
        missing = [name for shard, answer in zip(self.shards, answers, strict=True) if answer is None
                   for name in self._names(manifest, shard.number)]  # fmt: skip
        if len(missing) == len(manifest.shards) and any(w is not None for w in wanted):
            raise service_unavailable("no shard of the index answers: try again, and see /readyz")
        reached = [result.position for answer in answers for result in answer or () if result is not None]
        if manifest.kind == "signs" and min(reached, default=known) < known:
            # A shard whose file system does not show the last operations yet: one of them may be a removal.
            raise service_unavailable("the log of additions and removals cannot be read: try again")
        if options.position is not None and min(reached, default=options.position) < options.position:
            raise Problem(422, f"position: the log of this index ends at {min(reached)}")
        if missing and options.require_all:
            raise service_unavailable(f"{', '.join(missing)} of the index did not answer, and all were required")
        results: list[Found | UserError] = []
        for number, (e, want) in enumerate(zip(encoded, wanted, strict=True)):
            if isinstance(e, UserError) or want is None:
                assert isinstance(e, UserError)
                results.append(e)
            else:
                parts = [answer[number] for answer in answers if answer is not None]
                merged = merge_results([part for part in parts if part is not None], want.k, want.group_by)
                results.append(Found(merged, e))
        stages = {"encode": encoded_at - started, "shards": searched_at - encoded_at,
                  "merge": time.monotonic() - searched_at}  # fmt: skip
        milliseconds = {name: 1e3 * s for name, s in stages.items()}
        return Outcome(manifest, results, missing, milliseconds, min(reached, default=position))

    async def encode(
        self, version: str, queries: Sequence[EncoderQuery | np.ndarray], deadline: Deadline
    ) -> list[Encoded | UserError]:
        """Return each query encoded, or its user's error. Raises VersionMissing and Problem."""
        return list(await asyncio.gather(*(self._encode(version, query, deadline) for query in queries)))

    async def _encode(self, version: str, query: EncoderQuery | np.ndarray, deadline: Deadline) -> Encoded | UserError:
        if isinstance(query, np.ndarray):
            return Encoded(query[None])
        if query.clip is not None and (known := await self.added(version, query.clip, deadline)) is not None:
            if isinstance(known, UserError):
                return known
            query = query._replace(clip=None, signing=Signing(known.poses, known.aspect, known.source))
        left = deadline.require()
        try:
            return await asyncio.wait_for(self._encoder_batcher(version).submit((query, time.monotonic() + left)), left)
        except UserError as error:
            return error
        except VersionMissing:
            raise
        except BackPressureError as error:
            raise service_unavailable("the encoder has too much to do: try again") from error
        except TimeoutError:
            deadline.require()
            raise service_unavailable("the encoder did not answer in time: try again") from None
        except LOST as error:
            raise service_unavailable("the encoder restarts: try again") from error

    def _encoder_batcher(self, version: str) -> Batcher[tuple[EncoderQuery, float], Encoded]:
        if version not in self._encoders:

            async def run(batch: Sequence[tuple[EncoderQuery, float]]) -> Sequence[Encoded | BaseException]:
                queries = [query for query, _ in batch]
                left = max(deadline for _, deadline in batch) - time.monotonic()
                results: Sequence[Encoded | BaseException] = await self._ask_encoder(
                    lambda seconds: self.encoder.encode.remote(version, queries, seconds), max(left, 0.01)
                )
                return results

            if len(self._encoders) > 4:
                self._encoders.clear()
            self._encoders[version] = Batcher(
                run,
                max_size=self.config.encoder.max_batch_size,
                max_running=BATCHES_IN_FLIGHT,
                patience_s=BATCH_PATIENCE_S,
            )
        return self._encoders[version]

    async def _ask_encoder(self, call: Callable[[float], Any], seconds: float) -> Any:
        return await ask_replicas(call, seconds, ENCODER_HEDGE_S if self.encoder_replicas > 1 else None)

    async def _ask_shard(
        self, shard: ShardClient, version: str, wanted: Sequence[ShardQuery | None], deadline: Deadline, position: int
    ) -> list[ShardResult | None] | None:
        """Return the shard's result of each query, None in place of all where it did not answer in time."""
        # A little less than what is left, so that a partial answer still arrives in time.
        left = 0.9 * deadline.require()
        asked = [query for query in wanted if query is not None]
        if not asked:
            return [None] * len(wanted)
        answers = await asyncio.gather(
            *(shard.search(version, query, left, position) for query in asked), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, VersionMissing):
                raise answer
            if isinstance(answer, BaseException):
                metrics.count_shard_error(self.config.name, shard.number, answer)
                if isinstance(answer, LogError):
                    # Not a partial answer: an entry that was removed is never shown, and never missed in silence.
                    raise service_unavailable(str(answer)) from answer
                if not isinstance(answer, TimeoutError):
                    logger.warning("shard %d of %s: %s", shard.number, self.config.name, _first_line(answer))
                return None
        results = iter(answers)
        return [None if query is None else next(results) for query in wanted]  # type: ignore[misc]

    def _names(self, manifest: Manifest, number: int) -> list[str]:
        return [part.name for part in manifest.shards[number :: len(self.shards)]]

    async def row(self, id: str, deadline: Deadline) -> dict[str, Any] | None:
        """Return an entry's columns, None if the index has no such entry. Raises a 503 Problem."""
        version = self.manifest.version
        for shard in self.shards:
            row = await self._ask_about(shard, lambda s: s.handle.row.remote(version, id, self.position), deadline)
            if row is not None:
                return dict(row)
        return None

    async def _ask_about(self, shard: ShardClient, call: Callable[[ShardClient], Any], deadline: Deadline) -> Any:
        """Return what a shard knows about an entry. Raises a 503 Problem."""
        try:
            return await shard.ask(lambda _: call(shard), deadline.require())
        except LogError as error:
            raise service_unavailable(str(error)) from error
        except (TimeoutError, VersionMissing, *LOST) as error:
            raise service_unavailable(f"shard {shard.number} does not answer: try again") from error

    async def added(self, version: str, id: str, deadline: Deadline) -> PoseQuery | UserError | None:
        """Return a sign that was added, an error for an entry that was removed, else None. Raises a 503 Problem."""
        if self.position == 0 and self.manifest.log_position == 0:
            return None
        for shard in self.shards:
            call = functools.partial(_ask_added, version=version, id=id, position=self.position)
            known = await self._ask_about(shard, call, deadline)
            if known is True:
                return UnknownClip(f"no clip '{id}': it was removed")
            if known:
                row, poses = known
                return PoseQuery(id, poses, row["width"], row["height"], row["source"], id, row["gloss"])
        return None

    async def clip(self, id: str, deadline: Deadline) -> Any:
        """Return an added sign or a clip of the index's corpus, or a UserError. Raises a 503 Problem."""
        version = self.manifest.version
        if (known := await self.added(version, id, deadline)) is not None:
            return known
        try:
            return await self._ask_encoder(lambda _: self.encoder.clip.remote(version, id), deadline.require())
        except (TimeoutError, VersionMissing, *LOST) as error:
            raise service_unavailable("the encoder does not answer: try again") from error

    async def readiness(self, seconds: float) -> list[str]:
        """Return what is missing for every replica to serve the live version; nothing when all do."""
        try:
            status = await asyncio.wait_for(result_of(self.updater.status.remote()), seconds)
        except Exception as error:
            return [f"{self.config.name}: the updater does not answer ({type(error).__name__})"]
        missing = [f"{self.config.name}: {message}" for message in status["missing"]]
        if self.live is None or status["live"] != self.live:
            missing.append(f"{self.config.name}: this gateway serves {self.live}, the live version is {status['live']}")
        return missing


def _shard_query(
    query: EncoderQuery | np.ndarray, encoded: Encoded, options: SearchOptions, kind: Kind, config: IndexApplication
) -> ShardQuery:
    return ShardQuery(
        encoded.vectors,
        options.offset + options.k,
        tokens=encoded.tokens if options.rerank else None,
        side="text" if kind == "clips" else "video",
        candidates=options.candidates,
        leave_out=query.clip if kind == "signs" and isinstance(query, EncoderQuery) else None,
        language=encoded.language,
        group_by=options.group_by,
        filter=options.filter,
        nprobe=options.nprobe or config.nprobe,
        ef=options.ef or config.ef,
    )


def _ask_added(shard: ShardClient, *, version: str, id: str, position: int) -> Any:
    return shard.handle.added.remote(version, id, position)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
