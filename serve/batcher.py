"""Collect concurrent calls into batches, and call an object of this process as if it were a deployment."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

# Ray Serve hands each call from thread to thread, and each waits up to this long for a busy one. Python's own 5 ms is
# much of what a search takes. For sys.setswitchinterval, in processes that answer searches.
SWITCH_INTERVAL_S = 0.0005
Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Runs ``run`` over batches of what callers submit, at most ``max_running`` batches at a time.

    Nothing waits for a batch to fill while none runs. Items that arrive while one does become the next batch, which
    starts when that one has ended, when it is full, or after ``patience_s`` beside it: a batch that hangs does not stop
    the others. An item whose caller has left (a deadline) is dropped before its batch starts. ``run`` returns one
    result for each item; a result that is an exception is raised at its own caller only. ``observe(size, oldest_s)`` is
    called as a batch starts, with the time that its oldest item has waited.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Result | BaseException]]],
        *,
        max_size: int,
        max_running: int = 1,
        wait_s: float = 0.0,
        patience_s: float = 0.0,
        observe: Callable[[int, float], None] | None = None,
    ):
        self._run, self._max_size, self._max_running, self._wait_s = run, max_size, max_running, wait_s
        self._patience_s, self._observe = patience_s, observe
        self._waiting: deque[tuple[Item, asyncio.Future[Result], float]] = deque()
        self._running = 0
        self._items_running = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pending(self) -> int:
        """The number of items that wait or are in a running batch."""
        return len(self._waiting) + self._items_running

    async def submit(self, item: Item) -> Result:
        """Return the result of one item. Raises the exception that ``run`` returned or raised for it."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future, time.monotonic()))
        self._start()
        return await future

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running >= self._max_running or not self._waiting:
            return
        if self._running and len(self._waiting) < self._max_size:
            patience = self._waiting[0][2] + self._patience_s - time.monotonic()
            if patience > 0:
                self._timer = asyncio.get_running_loop().call_later(patience, self._start)
                return
        self._running += 1
        task = asyncio.ensure_future(self._run_batch())
        self._tasks.add(task)  # asyncio itself keeps no reference
        task.add_done_callback(self._tasks.discard)

    async def _run_batch(self) -> None:
        try:
            # With no pause, callers that are ready in this turn of the loop still join.
            await asyncio.sleep(self._wait_s)
            batch: list[tuple[Item, asyncio.Future[Result], float]] = []
            while self._waiting and len(batch) < self._max_size:
                entry = self._waiting.popleft()
                if not entry[1].done():
                    batch.append(entry)
            if batch:
                if self._observe is not None:
                    self._observe(len(batch), time.monotonic() - batch[0][2])
                self._items_running += len(batch)
                try:
                    await self._answer(batch)
                finally:
                    self._items_running -= len(batch)
        finally:
            self._running -= 1
            self._start()

    async def _answer(self, batch: list[tuple[Item, asyncio.Future[Result], float]]) -> None:
        try:
            results: Sequence[Result | BaseException] = await self._run([item for item, _, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for a batch of {len(batch)}")
        except Exception as error:
            results = [error] * len(batch)
        for (_, future, _), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)


class LocalHandle:
    """Calls methods of an object in this process like those of a deployment: ``handle.method.remote(...)``."""

    def __init__(self, target: Any):
        self._target = target

    def options(self, *, stream: bool) -> LocalHandle:
        """Return the handle: a method that yields is called as a stream here anyway."""
        return self

    def __getattr__(self, name: str) -> LocalMethod:
        return LocalMethod(getattr(self._target, name))


class LocalMethod:
    """A method of a :class:`LocalHandle`; ``remote`` returns a task, which can be awaited and cancelled.

    Of a method that yields it returns a :class:`LocalStream`.
    """

    def __init__(self, method: Callable[..., Any]):
        self._method = method

    def remote(self, *arguments: Any) -> Any:
        """Start the method and return its task or stream."""
        if inspect.isasyncgenfunction(self._method):
            return LocalStream(self._method(*arguments))
        return asyncio.ensure_future(self._method(*arguments))


class LocalStream:
    """What a method yields; like a streaming response of a handle, it can be cancelled."""

    def __init__(self, items: AsyncGenerator[Any, None]):
        self._items = items

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._items

    def cancel(self) -> None:
        """End the method, soon."""
        self._closing = asyncio.ensure_future(self._items.aclose())
