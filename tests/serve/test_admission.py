"""Rates per key, bodies in flight and running requests."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

import pytest

from serve.admission import MAX_IDLE_BUCKETS, SMALL_BODY, BodyBudget, RateLimit, Running
from serve.errors import Problem

MIB = 1 << 20


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def retry_after(error: pytest.ExceptionInfo[Problem], status: int) -> int:
    assert error.value.status == status and error.value.headers
    return int(error.value.headers["Retry-After"])


async def send(limit: RateLimit, key: str, number: int = 1) -> None:
    for _ in range(number):
        async with limit.admit(key):
            pass


def test_a_key_may_send_a_burst_and_then_its_rate() -> None:
    async def main() -> None:
        clock = Clock()
        limit = RateLimit(requests_per_s=2, burst=5, concurrent=10, clock=clock)
        await send(limit, "alice", 5)
        with pytest.raises(Problem) as error:
            await send(limit, "alice")
        assert retry_after(error, 429) == 1
        await send(limit, "bob", 5)  # another key is not affected
        clock.now += 0.5
        await send(limit, "alice")
        with pytest.raises(Problem):
            await send(limit, "alice")
        clock.now += 1000  # never more than the burst
        await send(limit, "alice", 5)
        with pytest.raises(Problem):
            await send(limit, "alice")

    asyncio.run(main())


def test_a_client_that_waits_as_told_is_admitted() -> None:
    async def main() -> None:
        for rate in (0.3, 0.7, 1, 3, 200):
            clock = Clock()
            limit = RateLimit(rate, burst=1, concurrent=10, clock=clock)
            await send(limit, "alice")
            with pytest.raises(Problem) as error:
                await send(limit, "alice")
            clock.now += retry_after(error, 429)
            await send(limit, "alice")

    asyncio.run(main())


def test_refused_requests_do_not_count() -> None:
    async def main() -> None:
        clock = Clock()
        limit = RateLimit(requests_per_s=1, burst=1, concurrent=1, clock=clock)
        await send(limit, "alice")
        for _ in range(1000):
            with pytest.raises(Problem):
                await send(limit, "alice")
        clock.now += 1
        await send(limit, "alice")

    asyncio.run(main())


def test_concurrent_requests_of_a_key_are_bounded() -> None:
    async def main() -> None:
        limit = RateLimit(requests_per_s=1000, burst=1000, concurrent=3, clock=Clock())
        async with AsyncExitStack() as running:
            for _ in range(3):
                await running.enter_async_context(limit.admit("alice"))
            with pytest.raises(Problem, match="already has 3 requests running") as error:
                await send(limit, "alice")
            assert retry_after(error, 429) == 1
            await send(limit, "bob", 3)
        await send(limit, "alice", 3)
        with pytest.raises(ZeroDivisionError):
            async with limit.admit("alice"):
                raise ZeroDivisionError
        assert limit._buckets["alice"].running == 0

    asyncio.run(main())


def test_buckets_of_keys_that_left_are_forgotten() -> None:
    async def main() -> None:
        clock = Clock()
        limit = RateLimit(requests_per_s=1, burst=2, concurrent=1, clock=clock)
        async with limit.admit("runs"):
            for number in range(5 * MAX_IDLE_BUCKETS):
                clock.now += 0.01
                await send(limit, f"key{number}")
            assert len(limit._buckets) <= MAX_IDLE_BUCKETS + 1 and limit._buckets["runs"].running == 1

    asyncio.run(main())


def test_bodies_are_bounded_in_number() -> None:
    async def main() -> None:
        budget = BodyBudget(bodies=4, total_bytes=MIB)
        async with AsyncExitStack() as bodies:
            for _ in range(4):
                await bodies.enter_async_context(budget.body())
            with pytest.raises(Problem) as error:
                await bodies.enter_async_context(budget.body())
            assert retry_after(error, 503) == 1
        async with budget.body():
            assert budget.used_bodies == 1

    asyncio.run(main())


def test_bytes_are_reserved_as_they_arrive_and_returned() -> None:
    async def main() -> None:
        budget = BodyBudget(bodies=100, total_bytes=16 * MIB)
        async with budget.body(10 * MIB) as first, budget.body(10 * MIB) as second:
            assert budget.used_bytes == 0 and budget.used_large_bodies == 2  # announced only
            first.add(10 * MIB)
            with pytest.raises(Problem):
                second.add(10 * MIB)
            assert budget.used_bytes == 10 * MIB
            first.release_bytes()  # parsed, not yet answered
            second.add(10 * MIB)
            assert budget.used_bytes == 10 * MIB and budget.used_bodies == 2
        assert empty(budget)

    asyncio.run(main())


def empty(budget: BodyBudget) -> bool:
    return (budget.used_bodies, budget.used_bytes, budget.used_large_bodies, budget.used_large_bytes) == (0, 0, 0, 0)


@pytest.mark.parametrize("announced", [True, False])
def test_large_bodies_leave_room_for_small_ones(announced: bool) -> None:
    async def main() -> None:
        budget = BodyBudget(bodies=64, total_bytes=8 * MIB)
        async with AsyncExitStack() as bodies:

            async def upload(size: int) -> None:
                reservation = await bodies.enter_async_context(budget.body(size if announced else None))
                for _ in range(0, size, SMALL_BODY):
                    reservation.add(SMALL_BODY)

            refused = 0
            for _ in range(20):
                try:
                    await upload(MIB)
                except Problem as problem:
                    assert problem.status == 503
                    refused += 1
            assert refused and budget.used_large_bytes <= 7 * MIB
            # Those that were refused end at once; here they stay open, each with the small part it had sent.
            for _ in range(3):
                await upload(SMALL_BODY)
            # Many large ones that have sent nothing do not fill the number of bodies either.
        async with AsyncExitStack() as bodies:
            with pytest.raises(Problem):
                for _ in range(64):
                    (await bodies.enter_async_context(budget.body(None))).add(SMALL_BODY + 1)
            assert budget.used_large_bodies == 56
            for _ in range(5):
                await upload(SMALL_BODY)
        assert empty(budget)

    asyncio.run(main())


def test_the_budget_is_exact_after_any_sequence() -> None:
    async def client(budget: BodyBudget, rng: random.Random) -> None:
        try:
            async with budget.body(rng.choice([None, 100, MIB])) as reservation:
                for _ in range(rng.randrange(20)):
                    reservation.add(rng.randrange(SMALL_BODY))
                    assert budget.used_bytes <= budget.total_bytes and budget.used_large_bytes <= budget.large_bytes
                    await asyncio.sleep(0)
                if rng.random() < 0.5:
                    reservation.release_bytes()
                await asyncio.sleep(rng.random() / 1000)
        except Problem as problem:
            assert problem.status == 503

    async def main() -> None:
        rng = random.Random(0)
        budget = BodyBudget(bodies=50, total_bytes=4 * MIB)
        tasks = [asyncio.create_task(client(budget, rng)) for _ in range(400)]
        for task in rng.sample(tasks, 100):
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [task.exception() for task in tasks if not task.cancelled() and task.exception()] == []
        assert empty(budget)

    asyncio.run(main())


def test_requests_wait_in_order_and_not_forever() -> None:
    async def main() -> None:
        running = Running(limit=2, waiting=3, wait_s=5)
        order: list[int] = []
        release = asyncio.Event()

        async def request(number: int) -> None:
            async with running.slot():
                order.append(number)
                await release.wait()

        tasks = [asyncio.create_task(request(number)) for number in range(5)]
        await asyncio.sleep(0)
        assert order == [0, 1] and (running.running, running.waiting) == (2, 3)
        with pytest.raises(Problem, match="busy with other requests: try again") as error:
            await request(5)  # the queue is full
        assert retry_after(error, 503) == 1
        release.set()
        await asyncio.gather(*tasks)
        assert order == [0, 1, 2, 3, 4] and (running.running, running.waiting) == (0, 0)

    asyncio.run(main())


def test_waiting_ends_after_its_time() -> None:
    async def main() -> None:
        running = Running(limit=1, waiting=10, wait_s=30)
        async with running.slot():
            for wait in (0.05, 0):
                with pytest.raises(Problem) as error:
                    async with running.slot(wait_s=wait):
                        pytest.fail("ran")
                assert retry_after(error, 503) == 1
        async with running.slot(wait_s=0):
            assert running.running == 1

    asyncio.run(main())


def test_no_slot_is_lost_to_cancelled_and_late_requests() -> None:
    async def request(running: Running, rng: random.Random) -> None:
        async with running.slot(wait_s=rng.random() / 20):
            assert running.running <= running.limit
            await asyncio.sleep(rng.random() / 500)

    async def main() -> None:
        rng = random.Random(0)
        running = Running(limit=4, waiting=200, wait_s=1)
        tasks = [asyncio.create_task(request(running, rng)) for _ in range(500)]
        for task in rng.sample(tasks, 200):
            asyncio.get_running_loop().call_later(rng.random() / 50, task.cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        kinds = {type(result) for result in results}
        assert kinds == {type(None), Problem, asyncio.CancelledError}
        assert (running.running, running.waiting) == (0, 0)
        async with AsyncExitStack() as slots:
            for _ in range(4):
                await slots.enter_async_context(running.slot(wait_s=0))

    asyncio.run(main())
