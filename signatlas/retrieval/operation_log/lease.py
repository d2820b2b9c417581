"""The lease of a log's writer: a numbered file that says who writes, and until when.

Records are created under numbers that nobody else can take, so that two writers never overwrite each other, whatever
their clocks say. The lease keeps the second one from trying, and tells it whom to ask instead.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable

from pydantic import ValidationError

from signatlas.config import Strict
from signatlas.errors import LogError
from signatlas.retrieval.operation_log.storage import Storage, numbers

LEASES = "leases/"
LEASE_S = 10.0
RENEW_S = 3.0  # a lease with less time left than LEASE_S - RENEW_S is renewed before the next record


class LeaseHeld(LogError):
    """Another writer holds the lease."""


class LeaseLost(LogError):
    """Another writer took the lease, because this one did not renew it in time."""


class Holder(Strict):
    """Who holds a lease, and until when (seconds since 1970)."""

    name: str
    url: str | None = None
    host: str
    process: int
    namespace: str = ""  # of process numbers: containers may share the name of their host
    until: float
    released: bool = False

    def __str__(self) -> str:
        return f"{self.name} (process {self.process} on {self.host})"


class Lease:
    """The lease of this process. Acquire with :meth:`acquire`."""

    def __init__(self, storage: Storage, number: int, name: str, url: str | None, clock: Callable[[], float]):
        self.storage, self.number = storage, number
        self._name, self._url, self._clock = name, url, clock
        self._renewed = clock()

    @classmethod
    def acquire(
        cls, storage: Storage, name: str, *, url: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> Lease:
        """Take the lease of a log as ``name``, reachable at ``url``. Raises LeaseHeld with the holder's name."""
        before = numbers(storage, LEASES)
        number = 1
        if before:
            number = before[-1] + 1
            holder = _read(storage, number - 1)
            if holder is not None and not _over(holder):
                raise _held(storage, holder)
        lease = cls(storage, number, name, url, clock)
        if not storage.create(_name(number), lease._content()):
            holder = _read(storage, number)
            raise _held(storage, holder) if holder else LeaseHeld(f"{storage.location} has another writer: try again")
        with contextlib.suppress(OSError):  # the last number counts, whatever else is there
            for old in before:
                storage.delete(_name(old))
        return lease

    def hold(self) -> None:
        """Renew the lease if that is due. Raises LeaseLost where another writer has taken it."""
        if self._clock() - self._renewed < RENEW_S:
            return
        self.require()
        began = self._clock()
        self.storage.replace(_name(self.number), self._content())
        self._renewed = began

    def require(self) -> None:
        """Raise LeaseLost where another writer has taken the lease."""
        last = max(numbers(self.storage, LEASES), default=0)
        if last > self.number:
            holder = _read(self.storage, last)
            raise LeaseLost(f"{self.storage.location} has another writer now: {holder or 'unknown'}")

    def release(self) -> None:
        """Give the lease back: another writer may take it at once."""
        self.storage.replace(_name(self.number), self._content(released=True))

    def _content(self, *, released: bool = False) -> bytes:
        holder = Holder(name=self._name, url=self._url, host=socket.gethostname(), process=os.getpid(),
                        namespace=_namespace(), until=time.time() + LEASE_S, released=released)  # fmt: skip
        return holder.model_dump_json().encode()


def _name(number: int) -> str:
    return f"{LEASES}{number:012d}"


def _read(storage: Storage, number: int) -> Holder | None:
    content = storage.read(_name(number))
    if content is None:
        return None
    try:
        return Holder.model_validate_json(content)
    except ValidationError:
        return None


def _over(holder: Holder) -> bool:
    """Return whether a lease was released, has run out, or was held by a process of this machine that is gone."""
    if holder.released or holder.until <= time.time():
        return True
    here = (socket.gethostname(), _namespace())
    return (holder.host, holder.namespace) == here and not _runs(holder.process)


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        return ""


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _held(storage: Storage, holder: Holder) -> LeaseHeld:
    way = f"use --url {holder.url}" if holder.url else f"try again in {LEASE_S:.0f} s"
    return LeaseHeld(f"{storage.location} is being written by {holder}: {way}")
