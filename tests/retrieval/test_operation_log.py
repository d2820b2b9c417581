"""The log of additions and removals: durable, numbered once, one writer, nothing kept of what was removed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from obstore.store import MemoryStore
from pydantic import ValidationError

from signatlas.corpus.format import Clip
from signatlas.errors import IndexVersionError, LogError
from signatlas.retrieval.index_version import IndexVersion, activate
from signatlas.retrieval.operation_log import lease, storage
from signatlas.retrieval.operation_log.lease import Lease, LeaseHeld, LeaseLost
from signatlas.retrieval.operation_log.log import Log, record_name
from signatlas.retrieval.operation_log.record import AddedSign, Consent, Operation, Record, parse_record
from signatlas.retrieval.operation_log.storage import LocalStorage, ObjectStorage, Storage
from signatlas.retrieval.operation_log.writer import IdTaken, KeyReused, NoSuchEntry, NotStored, Writer

CONSENT = Consent(given_by="signer", use="search")
SIGN = AddedSign(gloss="BAUM", sign_language="gsg", consent=CONSENT)
MODEL = "0" * 64


@pytest.fixture
def root(write: Callable[..., IndexVersion], tmp_path: Path) -> Path:
    write(tmp_path, shards=2, version="v1")
    activate(tmp_path, "v1")
    return tmp_path


@pytest.fixture(params=["local", "objects"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return LocalStorage(tmp_path / "log") if request.param == "local" else ObjectStorage("memory:///", MemoryStore())


def poses(seed: int = 0, frames: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).random((frames, 75, 3), np.float32)


def vector(seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal(32).astype(np.float32)
    return values / np.linalg.norm(values)


def add(writer: Writer, id: str, seed: int = 0, **options: Any) -> int:
    return writer.add(id, SIGN, poses(seed), vector(seed), model_sha256=MODEL, **options).position


def test_files_are_created_once(files: Storage) -> None:
    assert files.create("a/1", b"first") and not files.create("a/1", b"second")
    assert files.read("a/1") == b"first" and files.read("a/2") is None
    files.replace("a/1", b"third")
    assert files.create("a/2", b"") and files.read("a/1") == b"third" and files.names("a/") == ["a/1", "a/2"]
    files.delete("a/1")
    files.delete("a/1")
    assert files.names("a/") == ["a/2"] and files.names("b/") == []


def test_only_one_of_many_gets_a_name(files: Storage) -> None:
    won: list[int] = []
    barrier = threading.Barrier(8)

    def create(number: int) -> None:
        barrier.wait()
        if files.create("records/1", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and files.read("records/1") == str(won[0]).encode()


def test_a_repeated_put_finds_its_own_object() -> None:
    files = ObjectStorage("memory:///", MemoryStore())
    assert files.create("records/1", b"mine") and files.create("records/1", b"mine")
    assert not files.create("records/1", b"other")


def test_records_keep_every_bit_and_refuse_damage() -> None:
    operation = Operation(position=7, kind="add", id="a/1", time="", lease=1, sign=SIGN, frames=5, dims=32)
    strange = poses()
    strange[0, 0] = np.nan
    content = Record(operation, strange, vector()).to_bytes()
    read = parse_record(content, 7)
    assert read.operation == operation
    assert read.poses is not None and read.vector is not None
    assert read.poses.tobytes() == strange.tobytes() and read.vector.tobytes() == vector().tobytes()
    for cut in (0, 10, 50, 100, 300, len(content) - 1):
        with pytest.raises(LogError, match="record 7 is damaged"):
            parse_record(content[:cut], 7)
    flipped = bytearray(content)
    flipped[-1] ^= 1
    with pytest.raises(LogError, match="record 7 is damaged: it does not match its checksum"):
        parse_record(bytes(flipped), 7)
    with pytest.raises(LogError, match="record 8 is that of position 7"):
        parse_record(content, 8)
    with pytest.raises(ValidationError, match="consent"):
        AddedSign.model_validate({"gloss": "BAUM", "sign_language": "gsg"})


def test_additions_and_removals_are_numbered_and_read_back(root: Path, clips: list[Clip]) -> None:
    with Writer(root, name="test") as writer:
        assert [add(writer, f"new/{n}", n) for n in range(3)] == [1, 2, 3]
        with pytest.raises(IdTaken, match="new/1"):
            add(writer, "new/1")
        with pytest.raises(IdTaken, match=clips[0].id):
            add(writer, clips[0].id)
        assert writer.remove(clips[0].id).position == 4 and writer.remove("new/1").position == 5
        for id in (clips[0].id, "new/1", "nobody"):
            with pytest.raises(NoSuchEntry, match=id):
                writer.remove(id)
        assert add(writer, clips[0].id, 9) == 6 and add(writer, "new/1", 8) == 7
    log = Log.open(root / "log")
    assert log.end == 7
    assert [log.added(id) for id in ("new/0", "new/1", "new/2", clips[0].id, clips[1].id)] == [1, 7, 3, 6, None]
    np.testing.assert_array_equal(log.vector(7), vector(8))
    np.testing.assert_array_equal(log.record(7).poses, poses(8))


def test_poses_and_labels_of_a_removed_sign_are_erased(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Writer(root, name="test") as writer:
        add(writer, "new/1", 4)
        reader = Log.open(root / "log")
        writer.remove("new/1")
        content = (root / "log" / record_name(1)).read_bytes()
        assert b"BAUM" not in content and b"given_by" not in content and poses(4).tobytes()[:64] not in content
        assert reader.update() == 2 and reader.added("new/1") is None and reader.operations[0].sign is None
        assert [o.erased for o in Log.open(root / "log").operations] == [True, False]
        # A writer that is killed between the removal and the erasure leaves the rest to the next one.
        add(writer, "new/2", 5)
        monkeypatch.setattr(writer, "_erase", lambda: None)
        writer.remove("new/2")
        assert b"BAUM" in (root / "log" / record_name(3)).read_bytes()
    with Writer(root, name="next"):
        assert b"BAUM" not in (root / "log" / record_name(3)).read_bytes()


def test_idempotency_keys_hold_across_writers(root: Path) -> None:
    with Writer(root, name="first") as writer:
        assert add(writer, "new/1", key="k") == 1 and add(writer, "new/1", key="k") == 1
        with pytest.raises(KeyReused, match="used for another request"):
            add(writer, "new/2", key="k")
    with Writer(root, name="second") as writer:
        again = writer.add("new/1", SIGN, poses(), vector(), model_sha256=MODEL, key="k")
        assert (again.position, again.repeated, writer.log.end) == (1, True, 1)
        removed = writer.remove("new/1", key="r")
        assert writer.remove("new/1", key="r") == removed._replace(repeated=True)
        assert add(writer, "new/1", key="k") == 1 and writer.log.added("new/1") is None


def test_one_writer_at_a_time(root: Path) -> None:
    with Writer(root, name="service 'dgs'", url="http://127.0.0.1:8000") as writer:
        with pytest.raises(
            LeaseHeld, match=r"written by service 'dgs' \(process \d+ on .*\): use --url http://127.0.0.1:8000"
        ):
            Writer(root, name="other")
        add(writer, "new/1")
    with Writer(root, name="other") as other:
        assert add(other, "new/2") == 2


def test_a_lease_is_taken_over_when_it_runs_out_or_its_process_is_gone(
    files: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    Lease.acquire(files, "first")
    with pytest.raises(LeaseHeld, match="first"):
        Lease.acquire(files, "second")
    now = time.time()
    with monkeypatch.context() as patch:
        patch.setattr(lease.time, "time", lambda: now + lease.LEASE_S + 1)
        assert Lease.acquire(files, "second").number == 2
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: child.pid)
        patch.setattr(lease.time, "time", lambda: now + 2 * lease.LEASE_S + 2)
        Lease.acquire(files, "dead")
    assert Lease.acquire(files, "third").number == 4
    assert files.names("leases/") == ["leases/000000000004"]


def test_a_writer_whose_lease_was_taken_writes_nothing_over_the_other(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stale one believes that it has the lease still: numbers that are taken stop it."""
    stale = Writer(root, name="stale")
    add(stale, "new/1")
    now = time.time()
    with monkeypatch.context() as patch:
        patch.setattr(lease.time, "time", lambda: now + lease.LEASE_S + 1)
        fresh = Writer(root, name="fresh")
    assert add(fresh, "new/2") == 2
    with pytest.raises(LeaseLost, match="another writer now: fresh"):
        add(stale, "new/3")
    # A stale writer may still get the next number before the other: that one reads it, and takes the one after it.
    stale.log.update()
    assert add(stale, "new/4") == 3
    with pytest.raises(IdTaken):
        add(fresh, "new/4")
    assert add(fresh, "new/5") == 4
    assert [o.id for o in Log.open(root / "log").operations] == ["new/1", "new/2", "new/4", "new/5"]
    stale.lease._renewed -= lease.LEASE_S
    with pytest.raises(LeaseLost):
        add(stale, "new/6")


def test_a_full_disk_stores_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Writer(root, name="test") as writer:
        add(writer, "new/1")
        with monkeypatch.context() as patch:
            patch.setattr(storage.os, "fsync", full)
            with pytest.raises(NotStored, match="cannot be written: No space left on device"):
                add(writer, "new/2")
        assert writer.log.end == 1 and [p.name for p in (root / "log" / "records").iterdir()] == ["000000000001"]
        assert add(writer, "new/2") == 2


def test_damaged_and_missing_records_are_refused_by_name(root: Path) -> None:
    with Writer(root, name="test") as writer:
        for n in range(3):
            add(writer, f"new/{n}", n)
    path = root / "log" / record_name(2)
    content = path.read_bytes()
    path.write_bytes(content[:-10])  # torn
    with pytest.raises(LogError, match="record 2 is damaged"):
        Log.open(root / "log")
    with pytest.raises(LogError, match="record 2 is damaged"):
        Writer(root, name="test")
    path.unlink()
    with pytest.raises(LogError, match=r"record 2 of .* is missing, later ones are there: restore it from a backup"):
        Log.open(root / "log")
    path.write_bytes(content)
    assert Log.open(root / "log").end == 3
    with Writer(root, name="test") as writer:  # a writer that failed gave its lease back
        assert add(writer, "new/3") == 4


def test_an_index_of_sentences_takes_no_additions(tmp_path: Path) -> None:
    with pytest.raises(IndexVersionError, match="no index at"):
        Writer(tmp_path, name="test")
    assert not (tmp_path / "log").exists()


def test_unknown_object_stores_are_one_line() -> None:
    with pytest.raises(LogError, match="hdfs://somewhere/log cannot be opened"):
        ObjectStorage("hdfs://somewhere/log")
