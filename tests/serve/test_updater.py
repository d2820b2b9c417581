"""Which version goes live, and when, from reports and a clock; an updater that reads whatever CURRENT contains."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from serve import updater as updater_module
from serve.app import with_shard_count
from serve.config import IndexApplication
from serve.parts import num_shards
from serve.updater import DECIDE_S, FORGET_S, FRESH_S, PREPARE_S, Rollout, Updater
from serve.versions import LoadedVersions, Report, Reporter, Target
from signatlas.errors import UserError
from signatlas.retrieval import index_version
from tests.serve.services import write_signs

PARTS = ("encoder", "shard 0")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rollout(clock: Clock) -> Rollout:
    """Version a is live and loaded by an encoder and two replicas of a shard; one gateway uses it."""
    rollout = Rollout(PARTS, clock)
    rollout.start("a")
    report(rollout, "a")
    return rollout


def report(rollout: Rollout, *loaded: str, uses: str = "a", but: tuple[str, ...] = ()) -> None:
    """Report that every replica has ``loaded``, except for those named in ``but``, and what the gateway uses."""
    for part, replica in (("encoder", "e"), ("shard 0", "s1"), ("shard 0", "s2")):
        if replica not in but:
            rollout.report(Report(part, replica, loaded))
    rollout.report(Report("gateway", "g", (), uses))


def target(rollout: Rollout) -> Target:
    return rollout.report(Report("encoder", "e", ("a",)))


def test_a_version_goes_live_when_every_replica_has_it(rollout: Rollout) -> None:
    assert target(rollout) == Target("a", ("a",))
    rollout.prepare("b")
    assert target(rollout) == Target("a", ("a", "b"))
    report(rollout, "a", "b", but=("s2",))
    rollout.step({"encoder": 1, "shard 0": 2})
    assert rollout.live == "a" and rollout.missing("b") == ["shard 0: 1 of 2 replicas have version b"]
    report(rollout, "a", "b")
    rollout.step({"encoder": 1, "shard 0": 3})  # a third replica runs and has not reported
    assert rollout.live == "a"
    rollout.step({"encoder": 1, "shard 0": 2})
    assert rollout.live == "b" and rollout.candidate is None
    assert set(target(rollout).load) == {"a", "b"}, "the gateway still uses version a"
    report(rollout, "a", "b", uses="b")
    assert target(rollout) == Target("b", ("b",))


def test_a_part_that_does_not_report_keeps_a_version_from_going_live(rollout: Rollout, clock: Clock) -> None:
    rollout.prepare("b")
    report(rollout, "a", "b")
    clock.now += FRESH_S
    report(rollout, "a", "b", but=("s1", "s2"))
    rollout.step()
    assert rollout.live == "a" and rollout.missing("b") == ["shard 0 does not answer"]
    assert rollout.count("shard 0") == 2, "perhaps hung, not yet gone"
    clock.now += FORGET_S
    rollout.step()
    assert rollout.count("shard 0") == 0


def test_a_version_that_a_replica_cannot_load_or_not_in_time_is_rejected(rollout: Rollout, clock: Clock) -> None:
    rollout.prepare("b")
    rollout.report(Report("shard 0", "s1", ("a",), None, {"b": "shard-000 is damaged"}))
    rollout.step()
    assert rollout.live == "a" and rollout.candidate is None
    assert rollout.rejected == {"b": "shard 0 cannot load it: shard-000 is damaged"}
    assert target(rollout) == Target("a", ("a",))

    # A replica that has been lost since says nothing about the next attempt.
    clock.now += FRESH_S
    rollout.prepare("b")
    report(rollout, "a", "b", but=("s1",))
    rollout.step()
    assert rollout.live == "b" and rollout.rejected == {}

    rollout.prepare("c")
    clock.now += PREPARE_S + 1
    report(rollout, "b", uses="b")
    rollout.step()
    (reason,) = rollout.rejected.values()
    assert rollout.live == "b" and "not loaded in time by encoder: does not have version c" in reason


def test_a_restarted_updater_goes_on_with_the_version_that_gateways_use(clock: Clock) -> None:
    rollout = Rollout(PARTS, clock)
    assert rollout.report(Report("encoder", "e", ("a", "b"))) == Target(None, ()), "nothing is unloaded yet"
    assert not rollout.undecided
    rollout.report(Report("gateway", "g", (), "a"))
    rollout.start("b")
    assert rollout.live == "a"
    alone = Rollout(PARTS, clock)
    clock.now += DECIDE_S
    assert alone.undecided
    alone.start("b")
    assert alone.report(Report("encoder", "e", ())) == Target("b", ("b",)) and not alone.undecided


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, small_corpus: Path, small_model: Path) -> Path:
    root = tmp_path_factory.mktemp("updater") / "index"
    for version in ("v1", "v2"):
        write_signs(root, small_model, small_corpus, version, shards=2, activate=version == "v1")
    return root


def test_the_live_version_goes_on_whatever_happens_to_the_index_folder(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updater_module, "POLL_S", 0.05)
    root = tmp_path / "index"
    shutil.copytree(index, root)
    current, away = root / "CURRENT", tmp_path / "away"

    async def main() -> None:
        updater = Updater(IndexApplication(name="signs", index=str(root)), 2)
        reports = [
            lambda: updater.report(Report("encoder", "e", ("v1", "v2"))),
            lambda: updater.report(Report("shard 0", "s0", ("v1", "v2"))),
            lambda: updater.report(Report("shard 1", "s1", ("v1", "v2"))),
        ]

        async def until(condition: Callable[[str], bool]) -> str:
            async with asyncio.timeout(10):
                while True:
                    for send in reports:
                        await send()
                    message: str = (await updater.status())["message"]
                    if condition(message):
                        return message
                    await asyncio.sleep(0.05)

        await until(lambda _: updater.rollout.live == "v1")

        async def broken(expected: str) -> None:
            message = await until(lambda text: expected in text)
            assert message.startswith("still serving version v1: ") and "\n" not in message, message
            assert (await updater.report(Report("gateway", "g", (), "v1"))).live == "v1"

        async def repaired() -> None:
            current.write_text("v1\n")
            await until(lambda text: text == "")

        current.write_bytes(b"v\xff\xfe\n")
        await broken("CURRENT cannot be read: 'utf-8' codec")
        await repaired()
        current.unlink()
        await broken("CURRENT is missing")
        current.mkdir()
        await broken("CURRENT")
        current.rmdir()
        current.symlink_to(tmp_path / "nowhere")
        await broken("CURRENT")
        current.unlink()
        await repaired()
        for name in ("../v1", "v9", "", "v" * 5000):
            current.write_text(name)
            await broken(f"'{name[:9]}")
            await repaired()
        root.rename(away)
        await broken("no index at")
        away.rename(root)
        await repaired()
        (root / "v2" / "shard-001" / "index.faiss").write_bytes(b"broken")
        current.write_text("v2\n")
        await broken("shard-001")
        shutil.copy(index / "v2" / "shard-001" / "index.faiss", root / "v2" / "shard-001" / "index.faiss")
        await repaired()
        index_version.activate(root, "v2")
        await until(lambda _: updater.rollout.live == "v2")

    asyncio.run(main())


def test_a_replica_reports_while_it_loads() -> None:
    async def main() -> None:
        import threading

        release, reports = threading.Event(), []

        def load(version: str) -> str:
            if version == "slow":
                release.wait(10)
            if version == "broken":
                raise UserError("shard-000 is damaged")
            return version

        class Updates:
            """Answers reports with ``wanted``."""

            wanted: tuple[str, ...] = ("a",)

            def __init__(self) -> None:
                self.report = self

            def remote(self, report: Report) -> asyncio.Future[Target]:
                reports.append(report)
                future: asyncio.Future[Target] = asyncio.get_running_loop().create_future()
                future.set_result(Target("a", self.wanted))
                return future

        updates, versions = Updates(), LoadedVersions(load)
        await Reporter("shard 0", updates, versions).start(lambda: "a")
        assert versions.names() == ("a",)
        updates.wanted = ("a", "slow", "broken")
        async with asyncio.timeout(20):
            while len(reports) < 5:
                await asyncio.sleep(0.05)
            assert reports[-1].loaded == ("a",)
            release.set()
            while not reports[-1].errors:
                await asyncio.sleep(0.05)
        assert set(reports[-1].loaded) == {"a", "slow"}
        assert reports[-1].errors == {"broken": "shard-000 is damaged"}
        updates.wanted = ("slow",)
        async with asyncio.timeout(20):
            while reports[-1].loaded != ("slow",):
                await asyncio.sleep(0.05)
        assert reports[-1].errors == {}

    asyncio.run(main())


def test_the_number_of_shard_deployments_is_decided_once(
    index: Path, tmp_path: Path, small_model: Path, small_corpus: Path
) -> None:
    root = tmp_path / "index"
    shutil.copytree(index, root)
    deployed = with_shard_count(IndexApplication(name="signs", index=str(root)))
    assert deployed.shards == 2
    write_signs(root, small_model, small_corpus, "v3", shards=3)
    assert num_shards(deployed) == 2, "of a gateway that starts later"
    # Another number is another deployment: no replica is left with the old one.
    assert with_shard_count(IndexApplication(name="signs", index=str(root))) != deployed
    shutil.rmtree(root)
    assert num_shards(deployed) == 2
