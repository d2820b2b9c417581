"""What the service tells Ray about itself, for Prometheus, beside the metrics of Ray Serve.

Ray exports these at the metrics port of each node, under the prefix ``ray_`` and with Ray Serve's tags ``application``,
``deployment`` and ``replica``. Where the parts of an index are colocated, all of them are the gateway's.
"""

from __future__ import annotations

import functools
from typing import Any

from ray.serve import metrics

MILLISECONDS = (1.0, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000)
SIZES = (1.0, 2, 4, 8, 16, 32, 64, 128)


def observe_stages(part: str, milliseconds: dict[str, float]) -> None:
    """Record how long each stage of a request to ``part``, an index or a model, took."""
    histogram = _histogram("signatlas_stage_ms", "Milliseconds of each stage of a request", "stage", MILLISECONDS)
    for stage, ms in milliseconds.items():
        histogram.observe(ms, {"part": part, "stage": stage})


def observe_batch(part: str, role: str, size: int, oldest_s: float) -> None:
    """Record a batch that ``role`` ("encoder", "shard 0", "translator") begins, and how long its oldest item waited."""
    tags = {"part": part, "role": role}
    _histogram("signatlas_batch_size", "Queries of each batch", "role", SIZES).observe(size, tags)
    _histogram(
        "signatlas_queue_age_ms", "Milliseconds that the oldest query of a batch had waited", "role", MILLISECONDS
    ).observe(1e3 * oldest_s, tags)


def count_answer(index: str, partial: bool) -> None:
    """Count an answer to a search: of the whole index, or without shards that did not answer."""
    _counter("signatlas_search_answers", "Answers to searches", "partial").inc(
        1.0, {"part": index, "partial": str(partial).lower()}
    )


def count_response(path: str, status: int) -> None:
    """Count a response by the path of the API and its status; 0: the client left before."""
    _counter("signatlas_responses", "Responses", "path", "status").inc(
        1.0, {"part": "gateway", "path": path, "status": str(status)}
    )


def count_shard_error(index: str, shard: int, error: BaseException) -> None:
    """Count a request to a shard that failed, by the name of the error."""
    _counter("signatlas_shard_errors", "Requests to a shard without an answer", "shard", "error").inc(
        1.0, {"part": index, "shard": str(shard), "error": type(error).__name__}
    )


def set_version(index: str, live: str, before: str | None) -> None:
    """Record the version of an index that a gateway answers from: 1 for the live one, 0 for the one before it."""
    gauge = _gauge("signatlas_live_version", "1 for the version that a gateway answers from", "version")
    if before is not None and before != live:
        gauge.set(0.0, {"part": index, "version": before})
    gauge.set(1.0, {"part": index, "version": live})


def set_log_position(index: str, role: str, position: int) -> None:
    """Record up to which operation ``role`` ("gateway", "shard 0") knows the log of additions and removals."""
    gauge = _gauge("signatlas_log_position", "Last operation of the log that a part has read", "role")
    gauge.set(float(position), {"part": index, "role": role})


@functools.cache  # Ray wants each metric made once in a process
def _counter(name: str, description: str, *tags: str) -> metrics.Counter:
    return metrics.Counter(name, description, _tag_keys(*tags))


@functools.cache
def _gauge(name: str, description: str, *tags: str) -> metrics.Gauge:
    return metrics.Gauge(name, description, _tag_keys(*tags))


@functools.cache
def _histogram(name: str, description: str, tag: str, boundaries: tuple[float, ...]) -> metrics.Histogram:
    return metrics.Histogram(name, description, list(boundaries), _tag_keys(tag))


def _tag_keys(*tags: str) -> Any:  # Ray annotates a tuple of exactly one
    return ("part", *tags)
