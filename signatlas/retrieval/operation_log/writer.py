"""The one writer of a log: checks an operation against what the live version holds, and makes it durable."""

from __future__ import annotations

import contextlib
import hashlib
import os
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from signatlas.errors import IndexVersionError, LogError
from signatlas.pose.attributes import attributes
from signatlas.retrieval.index_version import IndexVersion, current
from signatlas.retrieval.operation_log.lease import Lease
from signatlas.retrieval.operation_log.log import RECORDS, Log, log_location, record_location, record_name
from signatlas.retrieval.operation_log.record import MAX_ID, AddedSign, Operation, Record
from signatlas.retrieval.operation_log.storage import open_storage


class IdTaken(LogError):
    """The index has an entry with this id."""


class NoSuchEntry(LogError):
    """The index has no entry with this id."""


class KeyReused(LogError):
    """An idempotency key came with another request than before."""


class InvalidId(LogError):
    """An id that no entry can have."""


class NotStored(LogError):
    """The record could not be written; the index is as it was."""


class PerhapsStored(LogError):
    """Writing the record failed, and it may be there all the same: the same request with the same key tells."""


class Written(NamedTuple):
    """A durable operation: its position, and whether it is new or the repetition of an earlier request."""

    position: int
    id: str
    repeated: bool = False


class Writer:
    """Adds signs to the index at ``root`` and removes entries from it.

    ``version`` is served whatever is live, ``log`` is the location of the log if it is not in the index folder;
    ``name`` and ``url`` tell others who holds the lease. Not safe for several threads. Raises LeaseHeld when another
    writer does, LogError for a damaged log, IndexVersionError for an index of other entries than signs.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        name: str,
        url: str | None = None,
        version: str | None = None,
        log: str | None = None,
    ):
        self.root, self._version = root, version
        self._live: tuple[str, int, frozenset[str]] | None = None  # version, its position in the log, its ids
        self._contents()
        storage = open_storage(log_location(root, log))
        try:
            self.lease = Lease.acquire(storage, name, url=url)
        except OSError as error:
            raise LogError(f"the log {storage.location} cannot be written: {_reason(error)}") from error
        try:
            self.log = Log(storage)
            self._catch_up()
            self.log.require_whole()
            self._require_fit()
            if log is not None:
                record_location(root, log)
            with contextlib.suppress(OSError):
                storage.clean(RECORDS)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the lease back. Where that fails, it runs out."""
        with contextlib.suppress(OSError):
            self.lease.release()

    def add(
        self,
        id: str,
        sign: AddedSign,
        poses: np.ndarray,
        vector: np.ndarray,
        *,
        model_sha256: str,
        key: str | None = None,
    ) -> Written:
        """Add a sign: ``poses`` float32 [frames, 75, 3], its unit ``vector`` float32 [E] by the model with this sha256.

        With an idempotency ``key`` that was used for the same request, nothing is added again. Raises InvalidId,
        IdTaken, KeyReused, NotStored, PerhapsStored, LeaseLost.
        """
        if not 1 <= len(id) <= MAX_ID or not _encodable(id):
            raise InvalidId(f"id: use 1 to {MAX_ID:,} characters that UTF-8 has")
        poses, vector = np.ascontiguousarray(poses, np.float32), np.ascontiguousarray(vector, np.float32)
        request = _digest("add", id, sign.model_dump_json().encode(), poses.tobytes())
        while True:
            if (before := self._before(key, request, "add", id)) is not None:
                return before
            if self._contains(id):
                raise IdTaken(f"the index has an entry '{_shown(id)}': choose another id, or remove it first")
            operation = self._operation("add", id, key, request, sign=sign, frames=len(poses),
                                        model_sha256=model_sha256, dims=len(vector),
                                        **attributes(poses, sign.width, sign.height)._asdict())  # fmt: skip
            if self._write(Record(operation, poses, vector)):
                return Written(operation.position, id)

    def remove(self, id: str, *, key: str | None = None) -> Written:
        """Remove an entry, of the version or added.

        The poses and labels of an added sign are then erased from the log. Raises NoSuchEntry, KeyReused, NotStored,
        PerhapsStored, LeaseLost.
        """
        if not _encodable(id):
            raise NoSuchEntry("the index has no entry with an id that UTF-8 cannot express")
        request = _digest("remove", id)
        while True:
            if (before := self._before(key, request, "remove", id)) is not None:
                return before
            if not self._contains(id):
                raise NoSuchEntry(f"the index has no entry '{_shown(id)}'")
            operation = self._operation("remove", id, key, request)
            if self._write(Record(operation)):
                self._erase()
                return Written(operation.position, id)

    def _operation(self, kind: Any, id: str, key: str | None, request: str, **fields: Any) -> Operation:
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        return Operation(position=self.log.end + 1, kind=kind, id=id, time=time, lease=self.lease.number, key=key,
                         request=request if key else None, **fields)  # fmt: skip

    def _before(self, key: str | None, request: str, kind: str, id: str) -> Written | None:
        """Return the operation that was written for an idempotency key."""
        position = self.log.with_key(key) if key else None
        if position is None:
            return None
        operation = self.log.operations[position - 1]
        if operation.request not in (None, request) or (operation.kind, operation.id) != (kind, id):
            raise KeyReused("the idempotency key was used for another request: take a new one for each request")
        return Written(position, operation.id, repeated=True)

    def _contains(self, id: str) -> bool:
        position, ids = self._require_fit()
        if self.log.added(id) is not None:
            return True
        return id in ids and self.log.touched(id) <= position

    def _require_fit(self) -> tuple[int, frozenset[str]]:
        """Return position and ids of the live version. Raises LogError where the log lacks what it has folded in."""
        position, ids = self._contents()
        assert self._live is not None
        self.log.require_reaches(position, self._live[0])
        return position, ids

    def _contents(self) -> tuple[int, frozenset[str]]:
        """Return the position that the live version has folded in, and its ids."""
        version = self._version or current(self.root)
        if self._live is None or self._live[0] != version:
            opened = IndexVersion.open(self.root, version, verify=False)
            if opened.manifest.kind != "signs":
                raise IndexVersionError(
                    f"{opened.path} is an index of {opened.manifest.kind}: only indexes of signs take additions; build "
                    "a new version"
                )
            folders = [opened.path / part.name for part in opened.manifest.shards]
            try:
                tables = [pq.read_table(folder / "ids.parquet", columns=["id"]) for folder in folders]
            except (OSError, pa.ArrowException) as error:
                raise IndexVersionError(f"{opened.path} cannot be read: {error}") from error
            ids = frozenset(id for table in tables for id in table["id"].to_pylist())
            self._live = version, opened.manifest.log_position, ids
        return self._live[1:]

    def _write(self, record: Record) -> bool:
        """Make a record durable; return False where another writer took its number, after reading what it wrote."""
        storage, name = self.log.storage, record_name(record.operation.position)
        created, began = False, False
        try:
            self.lease.hold()
            began = True
            created = storage.create(name, record.to_bytes())
            if not created:
                self.lease.require()
        except OSError as error:
            if began and self._may_have(name):
                raise PerhapsStored(
                    f"the log {storage.location} failed ({_reason(error)}), and the change may be stored: send it "
                    "again with the same idempotency key"
                ) from error
            raise NotStored(f"the log {storage.location} cannot be written: {_reason(error)}") from error
        if created:
            self.log.append(record)
        else:
            self._catch_up()
        return created

    def _may_have(self, name: str) -> bool:
        try:
            return self.log.storage.read(name) is not None
        except OSError:
            return True

    def _catch_up(self) -> None:
        self.log.update()
        self._erase()

    def _erase(self) -> None:
        """Erase the poses of removed signs from the log. What fails is tried again by the next operation."""
        waiting, self.log.not_erased = self.log.not_erased, []
        for position in waiting:
            try:
                # In memory it is erased already; the record that is stored may be damaged.
                erased = Record(self.log.operations[position - 1])
                self.log.storage.replace(record_name(position), erased.to_bytes())
            except OSError:
                self.log.not_erased.append(position)


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def _encodable(id: str) -> bool:
    try:
        id.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _shown(id: str) -> str:
    return id if len(id) <= 100 else f"{id[:100]}..."
