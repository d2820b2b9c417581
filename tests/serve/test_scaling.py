"""Autoscaling by queued work: the pure function, the policy on Ray Serve's contexts, what a replica records."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

from serve.scaling import (
    PER_REQUEST,
    QUEUED,
    RATE,
    QueuedWorkPolicy,
    WorkMeter,
    by_queued_work,
    replicas_for,
    with_queued_work_policy,
)


def context(
    stats: dict[str, list[float]] | None, *, target: int = 1, bounds: tuple[int, int] = (1, 8), requests: float = 0,
    waiting: float = 0,
) -> AutoscalingContext:  # fmt: skip
    """Return what Ray Serve gives to a policy; ``stats`` are the values of the replicas."""
    metrics: Any = {name: dict(enumerate(values)) for name, values in (stats or {}).items()}
    return AutoscalingContext(
        deployment_id=None, deployment_name="Translator", app_name="model", current_num_replicas=target,
        target_num_replicas=target, running_replicas=list(range(target)), total_num_requests=lambda: requests,
        total_queued_requests=lambda: waiting, aggregated_metrics=lambda: metrics, raw_metrics=None,
        capacity_adjusted_min_replicas=bounds[0], capacity_adjusted_max_replicas=bounds[1], policy_state={},
        last_scale_up_time=None, last_scale_down_time=None, current_time=0.0,
        config=AutoscalingConfig(min_replicas=bounds[0], max_replicas=bounds[1]),
    )  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize(
    ("queued", "rate", "current", "expected"),
    [
        (0, 100, 1, 1),  # nothing to do: the minimum
        (0, 100, 5, 1),
        (100, 100, 1, 1),  # exactly one second of work, two are allowed
        (200, 100, 1, 1),
        (201, 100, 1, 2),
        (950, 100, 1, 5),
        (1e9, 100, 1, 8),  # the maximum
        (500, 100, 4, 4),  # three would do, but only just: no replica stops
        (290, 100, 4, 3),  # three need less than half of the target
        (90, 100, 4, 1),
        (500, 0, 3, 3),  # rate unknown: as it is
        (500, 0, 0, 1),
    ],
)
def test_replicas_compute_the_queue_within_the_target(queued: float, rate: float, current: int, expected: int) -> None:
    assert replicas_for(queued, rate, current, 1, 8, target_wait_s=2) == expected


def test_more_work_never_means_fewer_replicas() -> None:
    for current in range(9):
        counts = [replicas_for(queued, 50, current, 0, 8, 1.5) for queued in range(0, 1000, 7)]
        assert counts == sorted(counts) and counts[0] == 0 and counts[-1] == 8
        # A decision is stable: with the same queue, the number it leads to stays.
        for queued, count in zip(range(0, 1000, 7), counts, strict=True):
            assert replicas_for(queued, 50, count, 0, 8, 1.5) == count


def test_the_policy_adds_the_queues_of_all_replicas() -> None:
    stats = {QUEUED: [300, 500, 0], RATE: [90, 110], PER_REQUEST: [50, 50, 50]}
    policy = QueuedWorkPolicy(target_wait_s=2)
    assert policy(context(stats, target=3)) == (4, {})
    # Requests that wait in handles count with the mean work of a request.
    assert policy(context(stats, target=3, requests=20, waiting=8)) == (6, {})
    assert by_queued_work(context(stats, target=3)) == (8, {})


def test_zero_replicas_start_with_the_first_request_and_keep_while_one_runs() -> None:
    zero = (0, 4)
    assert by_queued_work(context(None, target=0, bounds=zero))[0] == 0
    assert by_queued_work(context(None, target=0, bounds=zero, requests=0.1, waiting=0.1))[0] == 1
    idle = {QUEUED: [0.0], RATE: [100.0]}
    assert by_queued_work(context(idle, target=1, bounds=zero))[0] == 0
    assert by_queued_work(context(idle, target=1, bounds=zero, requests=1))[0] == 1
    assert by_queued_work(context({QUEUED: [50.0]}, target=2, bounds=zero, requests=1))[0] == 2


def test_a_meter_records_queue_rate_and_work_of_a_request() -> None:
    meter = WorkMeter()
    assert meter.stats() == {QUEUED: 0.0}
    meter.add(30)
    meter.add(50)
    meter.correct(10)
    assert meter.stats()[QUEUED] == 90 and 30 < meter.stats()[PER_REQUEST] < 50
    meter.measure(90, 0.5)
    assert meter.rate == pytest.approx(180)
    for _ in range(40):
        meter.measure(10, 1)  # it became slower, and the past is forgotten
    assert meter.stats()[RATE] == pytest.approx(10, rel=0.01)
    meter.remove(90)
    assert meter.queued == 0


def test_ray_serve_takes_the_policy_by_its_path() -> None:
    """As from a Serve file; the controller gets a pickle that needs no import of this package."""
    config = AutoscalingConfig(**with_queued_work_policy({"min_replicas": 0, "max_replicas": 3}, target_wait_s=4))
    policy = config.policy.get_policy()(**config.policy.policy_kwargs)
    assert policy(context({QUEUED: [900.0], RATE: [100.0]}, bounds=(0, 3))) == (3, {})
    function = AutoscalingPolicy(policy_function="serve.scaling:by_queued_work").get_policy()
    assert function(context({QUEUED: [200.0], RATE: [100.0]}, bounds=(0, 3)))[0] == 2
    named = {"policy": {"policy_function": "ray.serve.autoscaling_policy:default_autoscaling_policy"}}
    assert with_queued_work_policy(named) == named
