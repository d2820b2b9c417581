"""Read the inputs of the next step while the present one is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Prefetch(Generic[Key, Value]):
    """``load`` of a key, with that of ``following`` (None: nothing follows) begun in a thread beside.

    ``load`` must give the same whenever it is called: what was read ahead and is not asked for next is thrown away.
    An error of reading ahead is raised where its value is asked for.
    """

    def __init__(self, load: Callable[[Key], Value], following: Callable[[Key], Key | None]):
        self.load, self.following = load, following
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._ahead: tuple[Key, Future[Value]] | None = None

    def __call__(self, key: Key) -> Value:
        ahead, self._ahead = self._ahead, None
        value = ahead[1].result() if ahead is not None and ahead[0] == key else self.load(key)
        if (after := self.following(key)) is not None:
            self._ahead = after, self._pool.submit(self.load, after)
        return value
