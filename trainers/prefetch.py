"""Load the inputs of the next step in a thread while the current one is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Prefetch(Generic[Key, Value]):
    """``load`` with one key of look-ahead: a call starts loading ``next_key`` of its key in a thread.

    ``load`` must be deterministic: a prefetched value that the next call does not ask for is discarded. An error of
    prefetching is raised by the call for its key. ``next_key`` returns None at the end.
    """

    def __init__(self, load: Callable[[Key], Value], next_key: Callable[[Key], Key | None]):
        self.load, self.next_key = load, next_key
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._prefetched: tuple[Key, Future[Value]] | None = None

    def __call__(self, key: Key) -> Value:
        prefetched, self._prefetched = self._prefetched, None
        value = prefetched[1].result() if prefetched is not None and prefetched[0] == key else self.load(key)
        if (following := self.next_key(key)) is not None:
            self._prefetched = following, self._pool.submit(self.load, following)
        return value
