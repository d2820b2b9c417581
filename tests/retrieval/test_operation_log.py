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
from signatlas.retrieval.operation_log.log import Log, log_location, record_name
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
    # The number of a process means nothing in another container, though both may have the host's name.
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: child.pid)
        patch.setattr(lease, "_namespace", lambda: "pid:[1]")
        patch.setattr(lease.time, "time", lambda: now + 3 * lease.LEASE_S + 3)
        Lease.acquire(files, "container")
    with pytest.raises(LeaseHeld, match="container"):
        Lease.acquire(files, "fourth")


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


def test_an_index_has_one_log_wherever_it_is(root: Path) -> None:
    elsewhere = root.parent / "elsewhere"
    with Writer(root, name="test", log=str(elsewhere)) as writer:
        add(writer, "new/1")
    with Writer(root, name="test") as writer:  # without the location
        assert add(writer, "new/2") == 2
    assert not (root / "log").exists() and Log.open(log_location(root)).end == 2
    with pytest.raises(LogError, match=r"is at .*elsewhere, as .*LOG_LOCATION says: give"):
        Writer(root, name="test", log=str(root.parent / "another"))


def test_unknown_object_stores_are_one_line() -> None:
    with pytest.raises(LogError, match="hdfs://somewhere/log cannot be opened"):
        ObjectStorage("hdfs://somewhere/log")


def test_a_log_that_lacks_what_the_version_has_takes_no_changes(
    write: Callable[..., IndexVersion], clips: list[Clip], tmp_path: Path
) -> None:
    """A removal at a position that the version claims to have folded in would be acknowledged, and never applied."""
    write(tmp_path, version="v1", log_position=3)
    activate(tmp_path, "v1")
    with pytest.raises(LogError, match="ends at position 0, but version v1 has folded in operations up to 3"):
        Writer(tmp_path, name="test").remove(clips[0].id)
    assert Log.open(tmp_path / "log").end == 0


def test_a_log_in_memory_has_no_poses(root: Path) -> None:
    with Writer(root, name="test") as writer:
        writer.add("new/1", SIGN, poses(frames=1000), vector(), model_sha256=MODEL)
    kept = Log.open(root / "log").vector(1)
    assert kept.base is None and kept.nbytes == 128


def test_poses_that_a_killed_writer_left_are_deleted(root: Path) -> None:
    kill = """
import os, signal, sys
from tests.retrieval.test_operation_log import Writer, add, storage
writer = Writer(sys.argv[1], name="killed")
os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
add(writer, "new/1")
"""
    assert subprocess.run([sys.executable, "-c", kill, str(root)], check=False).returncode == -9
    (left,) = (root / "log" / "records").iterdir()
    assert b"given_by" in left.read_bytes()
    with Writer(root, name="next"):
        assert not left.exists()


def test_a_removal_counts_where_the_erasure_fails(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Writer(root, name="test") as writer:
        add(writer, "new/1")
        add(writer, "new/2")
        path = root / "log" / record_name(1)
        path.write_bytes(path.read_bytes()[:-10])  # damaged: what is left of the poses is erased as well
        assert writer.remove("new/1").position == 3
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
            assert writer.remove("new/2").position == 4
        assert b"BAUM" in (root / "log" / record_name(2)).read_bytes()
        add(writer, "new/3")
        writer.remove("new/3")
        for position in (1, 2, 5):
            assert b"BAUM" not in (root / "log" / record_name(position)).read_bytes()
    assert Log.open(root / "log").end == 6


def test_nobody_is_told_that_a_record_that_is_there_is_not(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is there, but may not survive a power failure: a repetition makes it durable before it is confirmed."""
    synced: list[Path] = []

    def fail(folder: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with Writer(root, name="test") as writer:
        add(writer, "new/0")
        with monkeypatch.context() as patch:
            patch.setattr(storage, "_sync_folder", fail)
            with pytest.raises(LogError, match="may be stored: send it again with the same idempotency key") as raised:
                add(writer, "new/1", key="k")
        assert not isinstance(raised.value, NotStored)
        with monkeypatch.context() as patch:
            patch.setattr(storage, "_sync_folder", synced.append)
            assert add(writer, "new/1", key="k") == 2
        assert root / "log" / "records" in synced
        with pytest.raises(IdTaken):
            add(writer, "new/1")


def test_new_folders_are_durable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[Path] = set()
    fsync = os.fsync

    def record(handle: int) -> None:
        synced.add(Path(os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    monkeypatch.setattr(storage.os, "fsync", record)
    LocalStorage(root / "a" / "log").create("records/1", b"")
    assert {root, root / "a", root / "a" / "log", root / "a" / "log" / "records"} <= synced


def test_a_log_that_cannot_be_written_is_one_line(root: Path) -> None:
    (root / "log").write_text("")
    with pytest.raises(LogError, match="cannot be written: "):
        Writer(root, name="test")


def test_ids_that_no_file_can_hold_are_refused(root: Path) -> None:
    with Writer(root, name="test") as writer:
        for id in ("", "x" * 1025, "caf\udce9"):
            with pytest.raises(LogError, match="1 to 1,024 characters"):
                add(writer, id)
            with pytest.raises(NoSuchEntry):
                writer.remove(id)
        assert writer.log.end == 0


def test_a_key_of_an_erased_sign_is_not_taken_for_another_request(root: Path) -> None:
    with Writer(root, name="test") as writer:
        add(writer, "new/1", key="k")
        writer.remove("new/1")
        assert add(writer, "new/1", key="k") == 1
        for call in (lambda: add(writer, "new/2", key="k"), lambda: writer.remove("new/1", key="k")):
            with pytest.raises(KeyReused):
                call()


def test_other_files_beside_the_log_are_no_part_of_it(root: Path) -> None:
    with Writer(root, name="test") as writer:
        add(writer, "new/1")
    for folder in ("records", "leases"):
        (root / "log" / folder / "copy of 000000000007").write_text("")
    assert Log.open(root / "log").end == 1
    with Writer(root, name="test") as writer:
        assert add(writer, "new/2") == 2


def test_a_damaged_version_is_one_line(root: Path) -> None:
    path = next((root / "v1").glob("*/ids.parquet"))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(IndexVersionError, match="cannot be read"):
        Writer(root, name="test")
