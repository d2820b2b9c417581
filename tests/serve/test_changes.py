"""Additions and removals through gateway, writer and shards in one process: seen in time, refused in one line."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.requests import Request

from serve import changes
from serve.batcher import LocalHandle
from serve.config import IndexApplication, Limits, ServeConfig, parse
from serve.encoder import Encoder, EncoderQuery
from serve.errors import Problem
from serve.keys import ANONYMOUS, Key
from serve.parts import Parts
from serve.replicas import Deadline
from serve.schemas import AddRequest, SearchOptions
from serve.searcher import Found, Searcher
from serve.shard import Shard
from serve.updater import Updater
from serve.writer import Writer
from signatlas.corpus.format import Clip, Corpus
from signatlas.errors import UserError
from signatlas.pose.serialization import to_json
from signatlas.retrieval import index_version
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.operation_log.lease import Lease
from signatlas.retrieval.operation_log.log import record_name
from signatlas.retrieval.operation_log.record import AddedSign
from signatlas.retrieval.operation_log.writer import Writer as LogWriter
from tests.serve.services import write_signs

CONSENT = {"given_by": "anna", "use": "search"}


@pytest.fixture(scope="module")
def clips(small_corpus: Path) -> list[Clip]:
    return list(Corpus.open(small_corpus))


@pytest.fixture
def index(tmp_path: Path, small_corpus: Path, small_model: Path) -> Path:
    write_signs(tmp_path / "index", small_model, small_corpus, "v1", shards=3)
    return tmp_path / "index"


class Gateway:
    """A gateway of an index with two shard deployments; several of them may share the shards."""

    def __init__(self, service: Service):
        self.parts = Parts(service.settings)
        shards = [LocalHandle(shard) for shard in service.shards]
        self.searcher = Searcher(service.config, LocalHandle(service.encoder), shards, LocalHandle(service.updater))
        self.parts.searchers["signs"] = self.searcher
        self.parts.writers["signs"] = LocalHandle(service.writer)

    async def follow(self) -> None:
        await self.searcher._look()

    async def add(self, clip: Clip, key: str = "", **fields: Any) -> dict[str, Any]:
        body = {"poses": to_json(clip.poses), "gloss": clip.gloss, "sign_language": "gsg", "width": clip.width,
                "height": clip.height, "consent": CONSENT} | fields  # fmt: skip
        request = AddRequest.model_validate(body)
        return await changes.add(self.parts, request, key or uuid.uuid4().hex, Limits(), Deadline(20))

    async def remove(self, id: str, key: str = "") -> dict[str, Any]:
        return await changes.remove(self.parts, id, None, key or uuid.uuid4().hex, Deadline(20))

    async def ids(self, query: EncoderQuery | np.ndarray, k: int = 3, **options: Any) -> list[str]:
        outcome = await self.searcher.search([query], SearchOptions(k=k, mirror="none", **options), Deadline(20))
        (result,) = outcome.results
        if isinstance(result, UserError):
            raise result
        assert isinstance(result, Found) and not outcome.missing
        return [row["id"] for _, row in result.result.hits]


class Service:
    """The parts of one index, in this process."""

    def __init__(self, index: Path, **settings: Any):
        application = {"name": "signs", "index": str(index), "shards": 2, "writer": {}} | settings
        self.settings: ServeConfig = parse({"applications": [application]})
        (config,) = self.settings.indexes()
        self.config: IndexApplication = config
        self.updater, self.encoder = Updater(config, 2), Encoder(config)
        self.shards = [Shard(config, n, 2) for n in range(2)]
        self.writer = Writer(config, "http://127.0.0.1:8000")

    async def start(self) -> Gateway:
        self.updater.follow(None)
        updater = LocalHandle(self.updater)
        await asyncio.gather(self.encoder.start(updater), *(shard.start(updater) for shard in self.shards))
        gateway = Gateway(self)
        await gateway.follow()
        return gateway


def run(index: Path, test: Callable[[Service, Gateway], Awaitable[None]], **settings: Any) -> None:
    async def main() -> None:
        service = Service(index, **settings)
        try:
            await test(service, await service.start())
        finally:
            await service.writer.close()

    asyncio.run(main())


def query(clip: Clip) -> EncoderQuery:
    from serve.encoder import Signing

    aspect = clip.width / clip.height if clip.width and clip.height else None
    return EncoderQuery(signing=Signing(clip.poses, aspect, clip.source), mirror=False)


def test_changes_are_seen_at_once_where_they_are_known_and_soon_everywhere(index: Path, clips: list[Clip]) -> None:
    async def test(service: Service, gateway: Gateway) -> None:
        other = Gateway(service)
        await other.follow()
        added = await gateway.add(clips[0], id="new/1")
        assert added == {"id": "new/1", "index": "signs", "position": 1, "repeated": False}
        assert set(await gateway.ids(query(clips[0]), k=2)) == {"new/1", clips[0].id}
        # Another gateway sees it at once where the client sends the position, else within a second.
        assert "new/1" in await other.ids(query(clips[0]), k=2, position=1)
        removed = await gateway.remove(clips[0].id)
        assert removed["position"] == 2 and (await gateway.ids(query(clips[0]), k=2))[0] == "new/1"
        await asyncio.sleep(0.5)
        await other.follow()
        assert other.searcher.position == 2
        assert clips[0].id not in await other.ids(query(clips[0]), k=10)
        with pytest.raises(Problem, match="position: the log of this index ends at 2"):
            await other.ids(query(clips[0]), position=3)

    run(index, test)


def test_what_was_removed_is_found_by_no_way(index: Path, clips: list[Clip]) -> None:
    async def test(service: Service, gateway: Gateway) -> None:
        await gateway.add(clips[5], id="new/1")
        assert (await gateway.ids(EncoderQuery(clip="new/1", mirror=False), k=1)) == [clips[5].id]  # leaves itself out
        assert (await gateway.searcher.clip("new/1", Deadline(5))).poses.shape == clips[5].poses.shape
        row = await gateway.searcher.row("new/1", Deadline(5))
        assert row is not None and row["gloss"] == clips[5].gloss and row["split"] == "added"
        for id in ("new/1", clips[5].id):
            await gateway.remove(id)
            assert await gateway.searcher.row(id, Deadline(5)) is None
            assert id not in await gateway.ids(query(clips[5]), k=200)
            with pytest.raises(Problem, match="no entry"):
                await gateway.remove(id)
        assert isinstance(await gateway.searcher.clip(clips[5].id, Deadline(5)), UserError)
        with pytest.raises(UserError, match="was removed"):
            await gateway.ids(EncoderQuery(clip=clips[5].id))

    run(index, test)


def test_a_roll_back_and_a_new_version_keep_removals(
    index: Path, clips: list[Clip], small_corpus: Path, small_model: Path
) -> None:
    write_signs(index, small_model, small_corpus, "v2", shards=2, activate=False)

    async def test(service: Service, gateway: Gateway) -> None:
        await gateway.remove(clips[0].id)
        for version in ("v2", "v1"):
            index_version.activate(index, version)
            for _ in range(200):
                await gateway.follow()
                if gateway.searcher.live == version:
                    break
                await asyncio.sleep(0.05)
            assert gateway.searcher.live == version
            assert clips[0].id not in await gateway.ids(query(clips[0]), k=200)

    run(index, test)


def test_a_shard_that_cannot_read_the_log_answers_503(index: Path, clips: list[Clip]) -> None:
    async def test(service: Service, gateway: Gateway) -> None:
        await gateway.remove(clips[0].id)
        assert clips[0].id not in await gateway.ids(query(clips[0]), k=200)
        records = index / "log" / "records"
        records.rename(index / "away")
        records.write_text("not a folder")
        # For a while searches go on: nothing else is known to be removed.
        assert clips[0].id not in await gateway.ids(query(clips[0]), k=200)
        await asyncio.sleep(2.2)
        with pytest.raises(Problem, match="cannot be read: see the server log") as raised:
            await gateway.ids(query(clips[0]))
        assert raised.value.status == 503
        records.unlink()
        (index / "away").rename(records)
        assert clips[0].id not in await gateway.ids(query(clips[0]), k=200)
        # A record that is there and damaged may be a removal: no answer without it.
        damaged = index / "log" / record_name(2)
        damaged.write_bytes(b"torn")
        gateway.searcher.knows(2)
        with pytest.raises(Problem, match="cannot be read"):
            await gateway.ids(query(clips[0]))
        damaged.unlink()

    run(index, test, max_log_lag_s=2.0)


def test_a_shard_that_does_not_see_a_known_operation_answers_503(index: Path, clips: list[Clip]) -> None:
    """A record that the gateway knows and the shard's file system does not show yet may be a removal."""

    async def test(service: Service, gateway: Gateway) -> None:
        gateway.searcher.knows(1)
        with pytest.raises(Problem, match="cannot be read") as raised:
            await gateway.ids(query(clips[0]))
        assert raised.value.status == 503
        with pytest.raises(Problem, match="cannot be read"):
            await gateway.searcher.row(clips[0].id, Deadline(5))

    run(index, test)


def test_a_shard_that_cannot_read_the_log_is_not_replaced(index: Path, clips: list[Clip]) -> None:
    """Another replica could not read it either, and would have to load the index first."""

    async def test(service: Service, gateway: Gateway) -> None:
        await gateway.remove(clips[0].id)
        (index / "log" / record_name(2)).write_bytes(b"torn")
        await asyncio.sleep(0.7)
        with pytest.raises(Problem, match="cannot be read"):
            await gateway.ids(query(clips[0]))
        for shard in service.shards:
            await shard.check_health()

    run(index, test, max_log_lag_s=0.5)


def test_an_unloaded_version_follows_the_log_to_its_last_search(index: Path, clips: list[Clip]) -> None:
    async def test(service: Service, gateway: Gateway) -> None:
        shard = next(s for s in service.shards if clips[0].id in s._content("v1"))
        content = shard._content("v1")
        shard.versions._loaded = {}
        with LogWriter(index, name="test") as writer:
            writer.remove(clips[0].id)
        await asyncio.get_running_loop().run_in_executor(shard._thread, shard._catch_up, content, 1)
        assert content.position == 1 and clips[0].id not in content

    run(index, test)


def test_searches_go_on_while_additions_are_embedded_again(
    index: Path, clips: list[Clip], small_corpus: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_signs(index, small_model, small_corpus, "v2", activate=False)
    sign = AddedSign.model_validate({"sign_language": "gsg", "consent": CONSENT})
    with LogWriter(index, name="test") as writer:
        for n in range(6):  # some for each shard
            vector = np.full(32, 32**-0.5, np.float32)
            writer.add(f"new/{n}", sign, clips[n].poses, vector, model_sha256="f" * 64)
    finish, waiting = threading.Event(), threading.Event()
    encoder = IndexVersion.encoder

    def slow(version: IndexVersion, **options: Any) -> Any:
        if version.path.name == "v2":
            waiting.set()
            assert finish.wait(30)
        return encoder(version, **options)

    async def test(service: Service, gateway: Gateway) -> None:
        monkeypatch.setattr(IndexVersion, "encoder", slow)
        index_version.activate(index, "v2")
        try:
            assert await asyncio.to_thread(waiting.wait, 20)
            await asyncio.sleep(1)
            assert await asyncio.wait_for(gateway.ids(query(clips[7])), 5)
        finally:
            finish.set()
        for _ in range(200):
            await gateway.follow()
            if gateway.searcher.live == "v2":
                break
            await asyncio.sleep(0.05)
        assert gateway.searcher.live == "v2" and "new/0" in await gateway.ids(query(clips[0]), k=10)

    run(index, test)


def test_an_addition_waits_for_a_switch_of_versions(index: Path, clips: list[Clip]) -> None:
    async def test(service: Service, gateway: Gateway) -> None:
        searcher = gateway.searcher
        manifest = searcher.manifest.model_copy(update={"version": "v0"})  # the encoder has let go of it
        searcher.manifests, searcher.live = searcher.manifests | {"v0": manifest}, "v0"
        adding = asyncio.ensure_future(gateway.add(clips[0]))
        await asyncio.sleep(0.3)
        searcher.live = "v1"
        assert (await adding)["position"] == 1

    run(index, test)


def test_requests_that_store_nothing(index: Path, clips: list[Clip]) -> None:
    async def test(service: Service, gateway: Gateway) -> None:
        with pytest.raises(ValueError, match="consent"):
            AddRequest.model_validate({"poses": to_json(clips[0].poses), "sign_language": "gsg"})
        with pytest.raises(ValueError, match="sign_language"):
            AddRequest.model_validate({"poses": to_json(clips[0].poses), "sign_language": "de", "consent": CONSENT})
        no_hands = clips[0].poses.copy()
        no_hands[:, 33:] = np.nan
        for arguments, status, message in (
            ({"clip": clips[0], "id": clips[1].id}, 409, "has an entry"),
            ({"clip": clips[0], "poses": to_json(no_hands)}, 422, "no hand is visible"),
            ({"clip": clips[0], "index": "other"}, 404, "no index 'other'"),
        ):
            with pytest.raises(Problem, match=message) as raised:
                await gateway.add(**arguments)
            assert raised.value.status == status
        with pytest.raises(Problem, match="no entry 'nobody'") as raised:
            await gateway.remove("nobody")
        assert raised.value.status == 404
        assert not list((index / "log").glob("records/*"))
        gateway.parts.writers.clear()
        with pytest.raises(Problem, match="takes no changes: give it a writer") as raised:
            await gateway.add(clips[0])
        assert raised.value.status == 403

    run(index, test)


def test_a_repeated_request_is_stored_once(index: Path, clips: list[Clip]) -> None:
    async def test(service: Service, gateway: Gateway) -> None:
        first = await gateway.add(clips[0], key="anna:1")
        assert await gateway.add(clips[0], key="anna:1") == first | {"repeated": True}
        assert first["id"].startswith("added/")
        with pytest.raises(Problem, match="used for another request") as raised:
            await gateway.add(clips[1], key="anna:1")
        assert raised.value.status == 422
        both = await asyncio.gather(*(gateway.add(clips[2], key="anna:2") for _ in range(4)))
        assert {answer["position"] for answer in both} == {2} and sum(a["repeated"] for a in both) == 3

    run(index, test)


def test_another_writer_is_told_apart(index: Path, clips: list[Clip]) -> None:
    async def test(service: Service, gateway: Gateway) -> None:
        with (
            LogWriter(index, name="signatlas index add"),
            pytest.raises(Problem, match="another writer holds") as raised,
        ):
            await gateway.add(clips[0])
        assert raised.value.status == 503 and str(index) not in raised.value.detail
        assert (await gateway.add(clips[0]))["position"] == 1
        with pytest.raises(UserError, match=r"being written by service 'signs' .*: use --url http://127.0.0.1:8000"):
            LogWriter(index, name="signatlas index add")

    run(index, test)


def test_a_lease_that_is_being_acquired_is_given_back(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acquire = Lease.acquire

    def slow(*arguments: Any, **options: Any) -> Lease:
        time.sleep(1)
        return acquire(*arguments, **options)

    async def test() -> None:
        (config,) = parse({"applications": [{"name": "signs", "index": str(index), "writer": {}}]}).indexes()
        writer = Writer(config)
        with monkeypatch.context() as patch:
            patch.setattr(Lease, "acquire", slow)
            writer.follow()
            await asyncio.sleep(0.3)
            await writer.close()
            writer._thread.shutdown()
        with LogWriter(index, name="next") as after:
            assert after.lease.number == 2

    asyncio.run(test())


def test_keys() -> None:
    changes.require_writer_key(ANONYMOUS)
    with pytest.raises(Problem, match="may only read"):
        changes.require_writer_key(Key(name="anna", role="read", sha256="0" * 64))

    def request(value: str) -> Request:
        return Request({"type": "http", "headers": [(b"idempotency-key", value.encode())]})

    assert changes.idempotency_key(request("a b"), ANONYMOUS) == "anonymous:a b"
    own = Request({"type": "http", "headers": []})
    assert changes.idempotency_key(own, ANONYMOUS) != changes.idempotency_key(own, ANONYMOUS)
    for value in ("", "x" * 201, "a\tb"):
        with pytest.raises(Problem, match="Idempotency-Key"):
            changes.idempotency_key(request(value), ANONYMOUS)
