"""Autoscaling by queued work: an encoder's or a translator's queue in seconds of computing, not in requests.

A replica counts its work with a :class:`WorkMeter` and returns ``stats()`` from ``record_autoscaling_stats``; Ray Serve
averages them over ``look_back_period_s`` and passes them to the policy. Ray Serve pickles this module by value into its
controller: the policy uses the standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

QUEUED, RATE, PER_REQUEST = "queued_work", "work_rate", "work_per_request"
TARGET_WAIT_S = 1.0
SHRINK_AT = 0.5  # fewer replicas only where they would need less than this share of the target


class WorkMeter:
    """Work of one replica, in frames or tokens: what waits or is computed, and the measured rate per second.

    Not thread-safe: use it in the event loop.
    """

    def __init__(self, forget: float = 0.8):
        self._forget = forget  # weight of the past at each measurement
        self._queued = 0.0
        self._work = self._seconds = 0.0  # of recent batches
        self._requested = self._requests = 0.0

    @property
    def queued(self) -> float:
        """Work that waits or is computed."""
        return self._queued

    def add(self, work: float) -> None:
        """Count the work of a request that arrives."""
        self._queued += work
        self._requested = self._requested * self._forget + work
        self._requests = self._requests * self._forget + 1

    def correct(self, change: float) -> None:
        """Change the work of a request that was estimated."""
        self._queued += change

    def remove(self, work: float) -> None:
        """Stop counting a request: it is answered, late or given up."""
        self._queued = max(0.0, self._queued - work)

    def measure(self, work: float, seconds: float) -> None:
        """Record that a batch with this work took so many seconds."""
        self._work = self._work * self._forget + work
        self._seconds = self._seconds * self._forget + seconds

    @property
    def rate(self) -> float:
        """Work per second of recent batches, 0 before the first."""
        return self._work / self._seconds if self._seconds else 0.0

    def stats(self) -> dict[str, float]:
        """Return the figures that the policy reads; a rate that is not known yet is not among them."""
        stats = {QUEUED: self._queued}
        if self.rate:
            stats[RATE] = self.rate
        if self._requests:
            stats[PER_REQUEST] = self._requested / self._requests
        return stats


def replicas_for(
    queued: float, rate_per_replica: float, current: int, minimum: int, maximum: int, target_wait_s: float
) -> int:
    """Return how many replicas compute ``queued`` work within ``target_wait_s`` seconds, within the bounds.

    ``rate_per_replica`` is work per second. While it is not known (0), the number stays, or becomes 1 where there is
    work and no replica. It falls only when the rest would need less than half of the target: otherwise a queue near
    the target would start and stop a replica again and again.
    """
    if queued <= 0:
        wanted = 0
    elif rate_per_replica <= 0:
        wanted = max(1, current)
    else:
        replica_seconds = queued / rate_per_replica
        wanted = math.ceil(replica_seconds / target_wait_s)
        if wanted < current:
            wanted = min(current, math.ceil(replica_seconds / (target_wait_s * SHRINK_AT)))
    return max(minimum, min(maximum, wanted))


class QueuedWorkPolicy:
    """Policy for Ray Serve: as many replicas as compute all queued work within ``target_wait_s`` seconds.

    ``autoscaling_config: {policy: {policy_function: "serve.scaling:QueuedWorkPolicy", policy_kwargs: {target_wait_s:
    2}}}``
    """

    def __init__(self, target_wait_s: float = TARGET_WAIT_S):
        self.target_wait_s = target_wait_s

    def __call__(self, ctx: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """Return the number of replicas, and no state of its own."""
        stats = ctx.aggregated_metrics or {}
        # Requests beyond max_ongoing_requests wait in the callers' handles: replicas do not know their work.
        waiting = ctx.total_queued_requests or 0.0
        queued = sum(_values(stats, QUEUED)) + waiting * _mean(_values(stats, PER_REQUEST))
        requests = ctx.total_num_requests or 0.0
        minimum, maximum = ctx.capacity_adjusted_min_replicas, ctx.capacity_adjusted_max_replicas
        # A request keeps the last replica, and starts the first one, even while no replica has counted its work.
        minimum = min(maximum, max(minimum, 1)) if requests > 0 else minimum
        rate = _mean([rate for rate in _values(stats, RATE) if rate > 0])
        return replicas_for(queued, rate, ctx.target_num_replicas, minimum, maximum, self.target_wait_s), {}


def by_queued_work(ctx: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """Return the number of replicas by :class:`QueuedWorkPolicy` with its default target, and no state of its own."""
    return QueuedWorkPolicy()(ctx)


def with_queued_work_policy(
    autoscaling_config: Mapping[str, Any], target_wait_s: float = TARGET_WAIT_S
) -> dict[str, Any]:
    """Return an ``autoscaling_config`` with :class:`QueuedWorkPolicy`, unless it names a policy already."""
    policy = {"policy_function": "serve.scaling:QueuedWorkPolicy", "policy_kwargs": {"target_wait_s": target_wait_s}}
    return {"policy": policy, **autoscaling_config}


def _values(stats: Mapping[str, Mapping[Any, float]], name: str) -> list[float]:
    return list(stats.get(name, {}).values())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
