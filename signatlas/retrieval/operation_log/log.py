"""Reading a log: its operations in order, and what they leave of an index version."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from signatlas.errors import LogError
from signatlas.files import absolute, write_text_atomically
from signatlas.retrieval.operation_log.record import Operation, Record, parse_record
from signatlas.retrieval.operation_log.storage import Storage, numbers, open_storage

FOLDER = "log"  # in an index folder
LOCATION = "LOG_LOCATION"  # names the place of the log, where that is another
RECORDS = "records/"


def record_name(position: int) -> str:
    """Return the file name of the record with this number, counted from 1."""
    return f"{RECORDS}{position:012d}"


def log_location(root: str | os.PathLike[str], location: str | None = None) -> str:
    """Return where the log of the index at ``root`` is: at ``location``, else as its file LOG_LOCATION says.

    Without both it is in the index folder. Raises LogError where both are given and differ: an index has one log.
    """
    path = Path(root) / LOCATION
    recorded = path.read_text(encoding="utf-8").strip() if path.is_file() else None
    if location is None:
        return recorded or str(Path(root) / FOLDER)
    if recorded is not None and recorded != absolute(location):
        raise LogError(f"the log of {os.fspath(root)} is at {recorded}, as {path} says: give that one, or none")
    return absolute(location)


def record_location(root: str | os.PathLike[str], location: str) -> None:
    """Write the file LOG_LOCATION, so that whoever opens the index without a location finds its log."""
    path = Path(root) / LOCATION
    if not path.is_file():
        write_text_atomically(path, absolute(location) + "\n")


class Log:
    """The operations that were read so far, record ``n`` at ``operations[n - 1]``; poses are read when asked for.

    Not safe for several threads.
    """

    def __init__(self, storage: Storage):
        self.storage = storage
        self.operations: list[Operation] = []
        self._vectors: dict[int, np.ndarray] = {}
        self._added: dict[str, int] = {}
        self._touched: dict[str, int] = {}
        self._keys: dict[str, int] = {}
        self.not_erased: list[int] = []  # positions of removed signs whose records may still have their poses

    @classmethod
    def open(cls, location: str | os.PathLike[str]) -> Log:
        """Read the log at a path or URI; one that does not exist is empty. Raises LogError."""
        log = cls(open_storage(location))
        log.update()
        log.require_whole()
        return log

    @property
    def end(self) -> int:
        """The position of the last operation that was read, 0 for none."""
        return len(self.operations)

    def update(self) -> int:
        """Read the records that are new, and return the position of the last one. Raises LogError."""
        while True:
            position = self.end + 1
            content = self._read(position)
            if content is None:
                return self.end
            self.append(parse_record(content, position))

    def append(self, record: Record) -> None:
        """Take a record that was read, or has just been written."""
        operation = record.operation
        added = self._added.pop(operation.id, None)
        if added is not None:
            # What was removed does not stay in memory either.
            self._vectors.pop(added, None)
            self.operations[added - 1] = Record(self.operations[added - 1]).erase().operation
            self.not_erased.append(added)
        if operation.kind == "add" and not operation.erased:
            self._added[operation.id] = operation.position
            assert record.vector is not None
            # A copy: the vector that was read is a view of the record, and would keep its poses in memory.
            self._vectors[operation.position] = record.vector.copy()
        self._touched[operation.id] = operation.position
        if operation.key is not None:
            self._keys[operation.key] = operation.position
        self.operations.append(operation)

    def require_whole(self) -> None:
        """Raise LogError where a record is missing before others: a removal may be lost with it."""
        if self._last() > self.end:
            raise LogError(
                f"record {self.end + 1} of {self.storage.location} is missing, later ones are there: restore it from a "
                "backup"
            )

    def require_reaches(self, position: int, version: str) -> None:
        """Raise LogError where the log lacks operations that a version has folded in."""
        if self.end < position:
            raise LogError(
                f"the log {self.storage.location} ends at position {self.end}, but version {version} has folded in "
                f"operations up to {position}: restore the log from a backup, or name another location with --log"
            )

    def vector(self, position: int) -> np.ndarray:
        """Return the unit vector float32 [E] of the sign added at ``position``."""
        return self._vectors[position]

    def record(self, position: int) -> Record:
        """Return an operation with the poses of its sign. Raises LogError."""
        content = self._read(position)
        if content is None:
            raise LogError(f"record {position} of {self.storage.location} is missing: restore it from a backup")
        return parse_record(content, position)

    def added(self, id: str) -> int | None:
        """Return the position at which a sign was added that has not been removed since, None if there is none."""
        return self._added.get(id)

    def with_key(self, key: str) -> int | None:
        """Return the position of the operation with an idempotency key, None if there is none."""
        return self._keys.get(key)

    def touched(self, id: str) -> int:
        """Return the position of the last operation on an id, 0 for none: it hides entries of versions before it."""
        return self._touched.get(id, 0)

    def _read(self, position: int) -> bytes | None:
        try:
            return self.storage.read(record_name(position))
        except OSError as error:
            raise LogError(f"record {position} of {self.storage.location} cannot be read: {error}") from error

    def _last(self) -> int:
        try:
            return max(numbers(self.storage, RECORDS), default=0)
        except OSError as error:
            raise LogError(f"{self.storage.location} cannot be read: {error}") from error
