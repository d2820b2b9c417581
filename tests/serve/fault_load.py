"""Load on a service from several connections, every answer compared with the exhaustive local search."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import httpx
import numpy as np

from signatlas.corpus.format import Clip
from signatlas.pose.serialization import to_json
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.search import SignSearch, without
from signatlas.retrieval.shard import merge

K = 7
SCORE_TOLERANCE = 1e-5  # the last bits of a score depend on the encoder's batch


class Local:
    """Answers of the exhaustive search in this process, of every version and without any shards."""

    def __init__(self, root: Path, versions: Sequence[str], clips: Sequence[Clip], count: int = 24):
        self.searches = {version: SignSearch(IndexVersion.open(root, version)) for version in versions}
        encoder = self.searches[versions[0]].index_version.encoder()
        self.queries: list[dict[str, Any]] = []
        self._vectors: list[np.ndarray] = []
        for number, clip in enumerate(clips[:count]):
            sides = [encoder.embed([clip.poses], aspect=640 / 480, mirror=side) for side in (False, True)]
            # Half of the queries need no encoder.
            if number % 4 in (0, 1):
                self.queries.append({"vector": sides[0][0].tolist()})
                self._vectors.append(sides[0])
            else:
                poses = {"poses": to_json(clip.poses), "width": 640, "height": 480}
                self.queries.append({"clip": clip.id} if number % 4 == 2 else poses)
                self._vectors.append(np.concatenate(sides))
        self.ranked = cache(self._ranked)

    def _ranked(self, number: int, version: str, missing: frozenset[str]) -> dict[str, float]:
        """Return ids of a query with their scores, best first, in the shards that are not missing; more than K."""
        search = self.searches[version]
        shards = [shard for shard in search.shards if shard.name not in missing]
        rankings = [ranking for shard in shards for ranking in shard.search(self._vectors[number], 2 * K)]
        return dict(without(merge(rankings, 2 * K), self.queries[number].get("clip"), 2 * K))

    def mistake(self, number: int, body: dict[str, Any]) -> str | None:
        """Return what is wrong with the answer to a query; None if it is exactly that of the shards that answered."""
        missing = frozenset(body["shards"]["missing"])
        if body["partial"] != bool(missing):
            return f"partial is {body['partial']}, missing are {sorted(missing)}"
        expected = self.ranked(number, body["version"], missing)
        hits = body["results"][0]["hits"]
        where = f"query {number} of {body['version']} without {sorted(missing)}"
        if "vector" in self.queries[number] and [hit["id"] for hit in hits] != list(expected)[:K]:
            return f"{where}: other hits than the local search"
        scores = list(expected.values())[:K]
        # An encoded query may change places of entries whose scores differ in their last bits.
        for hit, score in zip(hits, scores, strict=True):
            if max(abs(hit["score"] - score), abs(hit["score"] - expected.get(hit["id"], 9))) > SCORE_TOLERANCE:
                return f"{where}: {hit['id']} with {hit['score']}, the local search has {score} at this rank"
        return None


class Answer(NamedTuple):
    """One answer: status 0 where the connection was lost; ``kind`` is whole, partial, or what failed."""

    at: float  # when it was there, time.monotonic()
    took: float
    status: int
    kind: str
    version: str = ""


Send = Callable[[int], Answer]


def over_http(url: str, local: Local, **options: Any) -> Callable[[], Send]:
    """Return a function that opens a connection and returns how to send a query over it."""

    def connect() -> Send:
        client = httpx.Client(base_url=url, timeout=30)

        def send(number: int) -> Answer:
            started = time.monotonic()
            try:
                body = {"queries": [local.queries[number]], "k": K, **options}
                response = client.post("/v1/search", json=body)
            except httpx.HTTPError as error:
                return _answer(started, 0, repr(error))
            if response.status_code != 200:
                media_type = response.headers.get("content-type", "")
                retry_after = "retry-after" in response.headers
                kind = f"{response.status_code} {media_type} {'Retry-After' if retry_after else ''} {response.text}"
                return _answer(started, response.status_code, kind)
            return _checked(started, number, response.json(), local)

        return send

    return connect


def with_client(url: str, local: Local, index: str) -> Callable[[], Send]:
    """Like :func:`over_http` with ``signatlas.client``, which repeats what is lost with a gateway."""

    def connect() -> Send:
        from signatlas.client import Client, ClipQuery, PosesQuery, Query, ServiceError, VectorQuery

        client = Client(url, timeout_s=60)

        def send(number: int) -> Answer:
            started = time.monotonic()
            raw = local.queries[number]
            query: Query
            if "clip" in raw:
                query = ClipQuery(raw["clip"])
            elif "vector" in raw:
                query = VectorQuery(raw["vector"])
            else:
                # JSON null is a missing coordinate.
                query = PosesQuery(np.array(raw["poses"], np.float64).astype(np.float32), 640, 480)
            try:
                answer = client.search(query, index=index, k=K)
            except ServiceError as error:
                return _answer(started, error.status or 0, str(error))
            return _checked(started, number, answer.model_dump(), local)

        return send

    return connect


def _answer(started: float, status: int, kind: str, version: str = "") -> Answer:
    now = time.monotonic()
    return Answer(now, now - started, status, kind, version)


def _checked(started: float, number: int, body: dict[str, Any], local: Local) -> Answer:
    answer = _answer(started, 200, "partial" if body["partial"] else "whole", body["version"])
    mistake = local.mistake(number, body)
    return answer if mistake is None else answer._replace(kind=f"wrong: {mistake}")


@dataclass
class Load:
    """Searches continuously over ``connections`` while the block runs."""

    connect: Callable[[], Send]
    queries: int
    connections: int = 8
    answers: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(self.connections)]

    def _run(self, number: int) -> None:
        send = self.connect()
        for query in itertools.count(number):
            if self._ended.is_set():
                return
            answer = send(query % self.queries)
            self.answers.append(answer)
            if answer.status == 503:
                self._ended.wait(0.05)  # Retry-After asks for a second, a fault is to be over sooner

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def wait(self, count: int, since: float = 0.0, kind: str = "", seconds: float = 120) -> list[Answer]:
        """Wait for ``count`` answers since a time of ``time.monotonic()``, of one kind if given; return them."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answers = self.since(since, kind)
            if len(answers) >= count:
                return answers
            time.sleep(0.02)
        raise AssertionError(f"{len(self.since(since, kind))} of {count} answers {kind} in {seconds} s: {self.kinds()}")

    def since(self, since: float, kind: str = "") -> list[Answer]:
        """Return the answers whose requests were sent after ``since``."""
        return [a for a in list(self.answers) if a.at - a.took >= since and (not kind or a.kind == kind)]

    def kinds(self) -> dict[str, int]:
        """Return how many answers of each kind there are."""
        return dict(Counter(answer.kind[:300] for answer in list(self.answers)))


def percentile(answers: Sequence[Answer], share: float) -> float:
    """Return the latency in seconds that ``share`` of the answers did not exceed."""
    return float(np.quantile([answer.took for answer in answers], share))
