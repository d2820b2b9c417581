"""Batches of concurrent calls: their sizes, their errors, and callers that have left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from serve.batcher import Batcher, LocalHandle


class Recorder:
    """Doubles numbers, one batch each time ``release`` is set; records the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.release = asyncio.Event()
        self.running = self.most_running = 0

    async def run(self, batch: Sequence[int]) -> list[int | BaseException]:
        self.batches.append(list(batch))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.release.wait()
        finally:
            self.running -= 1
        return [ValueError(f"{n} is odd") if n % 2 else 2 * n for n in batch]


def test_items_that_arrive_while_batches_run_become_the_next_ones() -> None:
    async def main() -> None:
        recorder = Recorder()
        batcher: Batcher[int, int] = Batcher(recorder.run, max_size=4, max_running=2)
        first = [asyncio.ensure_future(batcher.submit(n)) for n in (0, 2)]
        await asyncio.sleep(0.01)
        second = [asyncio.ensure_future(batcher.submit(n)) for n in (4,)]
        await asyncio.sleep(0.01)
        rest = [asyncio.ensure_future(batcher.submit(n)) for n in range(6, 26, 2)]
        await asyncio.sleep(0.01)
        assert recorder.batches == [[0, 2], [4]], "the others wait for one of the two running batches"
        assert batcher.pending == 13
        recorder.release.set()
        assert await asyncio.gather(*first, *second, *rest) == list(range(0, 52, 4))
        assert recorder.batches[2:] == [[6, 8, 10, 12], [14, 16, 18, 20], [22, 24]]
        assert recorder.most_running == 2 and batcher.pending == 0

    asyncio.run(main())


def test_an_error_is_that_of_one_item_and_a_failed_batch_that_of_its_own() -> None:
    async def main() -> None:
        recorder = Recorder()
        recorder.release.set()
        batcher: Batcher[int, int] = Batcher(recorder.run, max_size=4)
        results = await asyncio.gather(*map(batcher.submit, (2, 3, 4)), return_exceptions=True)
        assert results[0] == 4 and results[2] == 8 and str(results[1]) == "3 is odd"

        async def fail(batch: Sequence[int]) -> list[int]:
            if 1 in batch:
                raise RuntimeError("no")
            return list(batch)

        failing: Batcher[int, int] = Batcher(fail, max_size=2)
        results = await asyncio.gather(*map(failing.submit, (1, 2, 3, 4)), return_exceptions=True)
        assert [str(result) for result in results] == ["no", "no", "3", "4"]

        async def too_few(batch: Sequence[int]) -> list[int]:
            return []

        with pytest.raises(RuntimeError, match="0 results for a batch of 1"):
            await asyncio.wait_for(Batcher(too_few, max_size=2).submit(1), 5)

    asyncio.run(main())


def test_an_item_whose_caller_has_left_is_dropped_before_its_batch() -> None:
    async def main() -> None:
        recorder = Recorder()
        batcher: Batcher[int, int] = Batcher(recorder.run, max_size=8)
        first = asyncio.ensure_future(batcher.submit(0))
        await asyncio.sleep(0.01)
        late, kept = asyncio.ensure_future(batcher.submit(2)), asyncio.ensure_future(batcher.submit(4))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(late, 0.01)
        first.cancel()  # in a running batch: its result goes nowhere, the others are answered
        recorder.release.set()
        assert await kept == 8
        assert recorder.batches == [[0], [4]]

    asyncio.run(main())


def test_a_local_handle_calls_like_a_deployment() -> None:
    async def main() -> None:
        recorder = Recorder()
        response = LocalHandle(recorder).run.remote([2])
        await asyncio.sleep(0.01)
        assert recorder.batches == [[2]], "it runs before it is awaited"
        response.cancel()
        with pytest.raises(asyncio.CancelledError):
            await response
        assert recorder.running == 0

    asyncio.run(main())


def test_each_batch_is_observed_with_its_size_and_the_wait_of_its_oldest_item() -> None:
    async def test() -> None:
        seen: list[tuple[int, float]] = []

        async def run(batch: Sequence[int]) -> Sequence[int]:
            await asyncio.sleep(0.2)
            return batch

        batcher: Batcher[int, int] = Batcher(run, max_size=8, observe=lambda size, s: seen.append((size, s)))
        first = asyncio.ensure_future(batcher.submit(0))
        await asyncio.sleep(0.05)
        await asyncio.gather(first, *(batcher.submit(n) for n in (1, 2, 3)))
        assert [size for size, _ in seen] == [1, 3]
        assert seen[0][1] < 0.1 < seen[1][1] < 2

    asyncio.run(test())


def test_a_batch_beside_a_running_one_starts_when_it_is_full_or_has_waited() -> None:
    async def test() -> None:
        recorder = Recorder()
        batcher: Batcher[int, int] = Batcher(recorder.run, max_size=3, max_running=4, patience_s=0.3)
        tasks = [asyncio.ensure_future(batcher.submit(0))]
        await asyncio.sleep(0.05)
        tasks += [asyncio.ensure_future(batcher.submit(n)) for n in (2, 4)]
        await asyncio.sleep(0.05)
        assert recorder.batches == [[0]], "not full: it waits for the running one"
        tasks.append(asyncio.ensure_future(batcher.submit(6)))
        await asyncio.sleep(0.05)
        assert recorder.batches == [[0], [2, 4, 6]], "full"
        tasks.append(asyncio.ensure_future(batcher.submit(8)))
        await asyncio.sleep(0.1)
        assert len(recorder.batches) == 2
        await asyncio.sleep(0.4)
        assert recorder.batches[2:] == [[8]], "patience has ended: the running ones may hang"
        tasks.append(asyncio.ensure_future(batcher.submit(10)))
        await asyncio.sleep(0.05)
        recorder.release.set()
        assert await asyncio.gather(*tasks) == [0, 4, 8, 12, 16, 20]
        assert recorder.batches[3:] == [[10]], "at once when another has ended"

    asyncio.run(test())
