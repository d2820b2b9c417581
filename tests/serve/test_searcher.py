"""A searcher over shards that hang, fail or lag: a second replica, partial answers in time, and never a wrong one."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError

from serve import searcher as searcher_module
from serve.batcher import LocalHandle
from serve.config import IndexApplication
from serve.encoder import Encoder, EncoderQuery, VersionMissing
from serve.errors import Problem
from serve.replicas import Deadline, ask_replicas
from serve.schemas import SearchOptions
from serve.searcher import Found, Outcome, Searcher
from serve.shard import Shard
from signatlas.corpus.format import Clip, Corpus
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.search import SignSearch
from signatlas.retrieval.shard import merge
from tests.serve.services import write_signs

HEDGE_S = 0.2


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, small_corpus: Path, small_model: Path) -> Path:
    root = tmp_path_factory.mktemp("searcher") / "index"
    write_signs(root, small_model, small_corpus, "v1", shards=3)
    return root


@pytest.fixture(scope="module")
def local(index: Path) -> SignSearch:
    return SignSearch(IndexVersion.open(index))


@pytest.fixture(scope="module")
def clips(small_corpus: Path) -> list[Clip]:
    return list(Corpus.open(small_corpus))


@pytest.fixture(scope="module")
def vectors(local: SignSearch, clips: list[Clip]) -> list[np.ndarray]:
    return list(local.index_version.encoder().embed_clips(clips))


class Replicas:
    """The replicas of a part; ``faults`` happen to the next calls, in this order, before the part is called."""

    def __init__(self, part: Any):
        self._part = part
        self.faults: list[Callable[[], Awaitable[None]]] = []
        self.always: Callable[[], Awaitable[None]] | None = None
        self.calls: list[int] = []  # number of queries
        self.cancelled = 0

    async def _call(self, method: str, *arguments: Any) -> Any:
        self.calls.append(len(arguments[1]))
        try:
            if self.always is not None:
                await self.always()
            elif self.faults:
                await self.faults.pop(0)()
            return await getattr(self._part, method)(*arguments)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def search(self, *arguments: Any) -> Any:
        return await self._call("search", *arguments)

    async def encode(self, *arguments: Any) -> Any:
        return await self._call("encode", *arguments)


async def hang() -> None:
    await asyncio.sleep(3600)


async def lost() -> None:
    raise ActorDiedError


async def missing() -> None:
    raise VersionMissing("v1")


async def busy() -> None:
    raise BackPressureError(num_queued_requests=9, max_queued_requests=9)


def lag(seconds: float) -> Callable[[], Awaitable[None]]:
    return lambda: asyncio.sleep(seconds)


class Parts:
    """A searcher whose two shard deployments serve three shards, and whose faults a test chooses."""

    def __init__(self, index: Path, replicas: int):
        self.config = IndexApplication.model_validate(
            {"name": "signs", "index": str(index), "shards": 2, "shard": {"hedge_s": HEDGE_S}}
        )
        self._encoder, self._shards = Encoder(self.config), [Shard(self.config, n, 2) for n in range(2)]
        self.shards = [Replicas(shard) for shard in self._shards]
        self.encoder = Replicas(self._encoder)
        self.searcher = Searcher(
            self.config, LocalHandle(self.encoder), [LocalHandle(shard) for shard in self.shards], None
        )
        for client in self.searcher.shards:
            client.replicas = replicas
        self.searcher.encoder_replicas = replicas
        self.searcher.manifests = {"v1": IndexVersion.open(index).manifest}
        self.searcher.live = "v1"

    async def load(self) -> None:
        await self._encoder.versions.want(("v1",))
        for shard in self._shards:
            await shard.versions.want(("v1",))

    async def search(self, query: Any, seconds: float = 5, k: int = 7, **options: Any) -> Outcome:
        return await self.searcher.search([query], SearchOptions(k=k, **options), Deadline(seconds))


def run(index: Path, replicas: int, test: Callable[[Parts], Awaitable[None]]) -> None:
    async def main() -> None:
        parts = Parts(index, replicas)
        await parts.load()
        await test(parts)

    asyncio.run(main())


def ids(outcome: Outcome) -> list[str]:
    (result,) = outcome.results
    assert isinstance(result, Found)
    return [row["id"] for _, row in result.result.hits]


def expected(local: SignSearch, vector: np.ndarray, k: int = 7, but: tuple[int, ...] = ()) -> list[str]:
    """Return the ids of the exhaustive search over all shards but those with the numbers ``but``."""
    rankings = [shard.search(vector[None], k)[0] for n, shard in enumerate(local.shards) if n not in but]
    return [id for id, _ in merge(rankings, k)]


def test_concurrent_searches_equal_those_over_all_shards_at_once(
    index: Path, local: SignSearch, vectors: list[np.ndarray]
) -> None:
    async def test(parts: Parts) -> None:
        sizes = [1 + n % 60 for n in range(len(vectors))]
        outcomes = await asyncio.gather(*(parts.search(v, k=k) for v, k in zip(vectors, sizes, strict=True)))
        for outcome, vector, k in zip(outcomes, vectors, sizes, strict=True):
            (result,) = outcome.results
            assert isinstance(result, Found)
            ranked = [(row["id"], score) for score, row in result.result.hits]
            assert ranked == local.rank(vector[None], k)[0] and not outcome.missing
        calls = parts.shards[0].calls
        assert sum(calls) == len(vectors) and max(calls) == 32 and len(calls) < len(vectors) / 2

    run(index, 1, test)


def test_a_hung_or_slow_replica_is_hedged_by_a_second_one(
    index: Path, local: SignSearch, vectors: list[np.ndarray]
) -> None:
    async def test(parts: Parts) -> None:
        for fault in (hang, lag(3)):
            parts.shards[0].faults, parts.shards[0].calls, parts.shards[0].cancelled = [fault], [], 0
            started = time.monotonic()
            outcome = await parts.search(vectors[0])
            took = time.monotonic() - started
            assert ids(outcome) == expected(local, vectors[0]) and not outcome.missing
            assert HEDGE_S <= took < 2 and parts.shards[0].calls == [1, 1]
            await asyncio.sleep(0)
            assert parts.shards[0].cancelled == 1, "the slow replica is told that nobody waits"
            assert not parts.searcher.shards[0].late
        # Slow, but first: the second replica hangs.
        parts.shards[0].faults = [lag(2 * HEDGE_S), hang]
        assert ids(await parts.search(vectors[1])) == expected(local, vectors[1])

    run(index, 2, test)


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_lost_replica_is_retried(index: Path, local: SignSearch, vectors: list[np.ndarray], replicas: int) -> None:
    async def test(parts: Parts) -> None:
        parts.shards[1].faults = [lost]
        outcome = await parts.search(vectors[0])
        assert ids(outcome) == expected(local, vectors[0]) and parts.shards[1].calls == [1, 1]
        # Of several replicas, both attempts may have met the one that is lost.
        attempts = 2 if replicas == 1 else 3
        parts.shards[1].faults, parts.shards[1].calls = [lost] * attempts, []
        outcome = await parts.search(vectors[0])
        assert outcome.missing == ["shard-001"] and ids(outcome) == expected(local, vectors[0], but=(1,))
        assert parts.shards[1].calls == [1] * attempts, "and no more"
        parts.shards[1].faults, parts.shards[1].calls = [lost] * (attempts - 1), []
        assert ids(await parts.search(vectors[0])) == expected(local, vectors[0])
        parts.shards[1].faults, parts.shards[1].calls = [busy], []
        assert (await parts.search(vectors[0])).missing == ["shard-001"]
        assert parts.shards[1].calls == [1], "a full queue is not asked again"

    run(index, replicas, test)


def test_a_late_shard_is_left_out_in_time_and_comes_back(
    index: Path, local: SignSearch, vectors: list[np.ndarray]
) -> None:
    async def test(parts: Parts) -> None:
        back = asyncio.Event()

        async def stopped() -> None:
            await back.wait()

        parts.shards[0].always = stopped
        started = time.monotonic()
        outcome = await parts.search(vectors[0], seconds=1)
        assert 0.8 < time.monotonic() - started < 1, "before the deadline"
        assert outcome.missing == ["shard-000", "shard-002"], "the deployment serves two of the three shards"
        assert ids(outcome) == expected(local, vectors[0], but=(0, 2))

        assert parts.searcher.shards[0].late
        started = time.monotonic()
        outcomes = await asyncio.gather(*(parts.search(v, seconds=5) for v in vectors[:40]))
        assert time.monotonic() - started < 0.25 + 0.5, "nobody waits again for as long"
        for vector, outcome in zip(vectors, outcomes, strict=False):
            assert ids(outcome) == expected(local, vector, but=(0, 2))
        with pytest.raises(Problem, match="shard-000, shard-002 of the index did not answer") as error:
            await parts.search(vectors[0], require_all=True)
        assert error.value.status == 503 and error.value.headers == {"Retry-After": "1"}
        # The answer to a search that gave up shows that the shard is back.
        back.set()
        await asyncio.sleep(0.2)
        assert not parts.searcher.shards[0].late
        assert ids(await parts.search(vectors[0])) == expected(local, vectors[0])
        # A slow shard is not late for ever, although no search waits for it at first.
        parts.searcher.shards[0].late, parts.shards[0].always = True, lag(0.4)
        assert (await parts.search(vectors[1])).missing
        await asyncio.sleep(0.3)
        outcome = await parts.search(vectors[1])
        assert not outcome.missing and ids(outcome) == expected(local, vectors[1])

    run(index, 1, test)


def test_an_impatient_client_does_not_make_a_shard_late_for_others(
    index: Path, local: SignSearch, vectors: list[np.ndarray]
) -> None:
    async def test(parts: Parts) -> None:
        parts.shards[0].always = lag(0.4)
        assert (await parts.search(vectors[0], seconds=0.1)).missing == ["shard-000", "shard-002"]
        outcome = await parts.search(vectors[1])
        assert not outcome.missing and ids(outcome) == expected(local, vectors[1])

    run(index, 1, test)


def test_without_any_shard_there_is_no_answer(index: Path, vectors: list[np.ndarray]) -> None:
    async def test(parts: Parts) -> None:
        for shard in parts.shards:
            shard.always = lost
        with pytest.raises(Problem, match="no shard of the index answers") as error:
            await parts.search(vectors[0])
        assert error.value.status == 503
        with pytest.raises(Problem) as error:
            await parts.search(vectors[0], seconds=0)
        assert error.value.status == 504

    run(index, 1, test)


def test_a_replica_that_lacks_the_version_is_asked_again(
    index: Path, local: SignSearch, vectors: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searcher_module, "VERSION_PAUSE_S", 0.01)

    async def test(parts: Parts) -> None:
        parts.shards[0].faults, parts.shards[1].faults = [missing] * 3, [missing]
        outcome = await parts.search(vectors[0])
        assert not outcome.missing and ids(outcome) == expected(local, vectors[0])
        # Never answered from another version, and not for ever.
        parts.shards[0].always = missing
        with pytest.raises(Problem, match="switched to another version") as error:
            await parts.search(vectors[0])
        assert error.value.status == 503
        with pytest.raises(Problem) as error:
            await parts.search(vectors[0], seconds=0.1)
        assert error.value.status in (503, 504)

    run(index, 1, test)


def test_a_hung_or_lost_encoder_replica_is_replaced_by_a_second_one(
    index: Path, local: SignSearch, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searcher_module, "ENCODER_HEDGE_S", HEDGE_S)

    async def test(parts: Parts) -> None:
        for fault, clip in zip((hang, lost, missing), clips, strict=False):
            parts.encoder.faults = [fault]
            outcome = await parts.search(EncoderQuery(clip=clip.id))
            assert ids(outcome) == [
                hit.id for hit in local.search(clip.poses, aspect=640 / 480, k=7, leave_out=clip.id)
            ]
        parts.encoder.faults = [busy]
        with pytest.raises(Problem, match="too much to do") as error:
            await parts.search(EncoderQuery(clip=clips[0].id))
        assert error.value.status == 503
        parts.encoder.always = hang
        started = time.monotonic()
        outcomes = await asyncio.gather(
            *(parts.search(EncoderQuery(clip=clips[0].id), seconds=0.6) for _ in range(80)), return_exceptions=True
        )
        assert time.monotonic() - started < 1.5
        assert {(type(o), o.status) for o in outcomes if isinstance(o, Problem)} == {(Problem, 504)}
        parts.encoder.always = None
        assert ids(await parts.search(EncoderQuery(clip=clips[0].id))), "no batch of the hung encoder is left"

    run(index, 2, test)


def test_the_first_answer_counts_and_the_error_of_a_replica_is_its_own() -> None:
    async def main() -> None:
        async def answer(after: float, value: object) -> object:
            await asyncio.sleep(after)
            if isinstance(value, Exception):
                raise value
            return value

        def calls(*attempts: tuple[float, object]) -> Callable[[float], asyncio.Future[object]]:
            rest = itertools.chain(attempts)
            return lambda seconds: asyncio.ensure_future(answer(*next(rest)))

        assert await ask_replicas(calls((0, 1)), 1, None) == 1
        assert await ask_replicas(calls((0.5, 1), (0.05, 2)), 1, 0.1) == 2
        assert await ask_replicas(calls((0.15, 1), (0.5, 2)), 1, 0.1) == 1
        assert await ask_replicas(calls((0, ActorDiedError()), (0, 2)), 1, None) == 2
        assert await ask_replicas(calls((0.2, ActorDiedError()), (0.2, 2), (9, 3)), 1, 0.1) == 2
        assert await ask_replicas(calls((9, 1), (9, 2), (0, 3)), 1, 0.1) == 3
        with pytest.raises(ActorDiedError):
            await ask_replicas(calls((0, ActorDiedError()), (0, ActorDiedError())), 1, None)
        with pytest.raises(ZeroDivisionError):
            await ask_replicas(calls((0, ZeroDivisionError()), (0, 2)), 1, 0.1)
        lost, late = (0, ActorDiedError()), (9, 1)
        for attempts in ((late, late, late), (lost, late, late), (late, lost, late)):
            started = time.monotonic()
            with pytest.raises(TimeoutError):
                await ask_replicas(calls(*attempts), 0.3, 0.1)
            assert 0.29 < time.monotonic() - started < 1

    asyncio.run(main())


def test_the_health_check_of_a_shard_ranks_a_few_entries_only(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query that ties with every entry would have all of them ranked, twice a second."""
    fetched: list[int] = []
    search = faiss.IndexFlatIP.search

    def counted(self: faiss.IndexFlatIP, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        fetched.append(k)
        found: tuple[np.ndarray, np.ndarray] = search(self, queries, k)
        return found

    monkeypatch.setattr(faiss.IndexFlatIP, "search", counted)

    async def main() -> None:
        shard = Shard(IndexApplication(name="signs", index=str(index)), 0, 1)
        await shard.versions.want(("v1",))
        await shard.check_health()

    asyncio.run(main())
    assert len(fetched) == 3 and max(fetched) < 10, fetched
