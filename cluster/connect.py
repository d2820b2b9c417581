"""Connect to Ray: to a named cluster, or to a local one that stops when the block ends."""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from cluster.ray_internals import silence_token_notice
from signatlas.errors import UserError

PROBE_SECONDS = 5.0
TOKEN_ADVICE = "set RAY_AUTH_MODE=token and put the cluster's token into ~/.ray/auth_token, see docs/cluster.md"


class ClusterError(UserError):
    """A cluster that is unreachable or rejects a request."""


@contextmanager
def connected(address: str | None = None, *, num_cpus: float | None = None, worker_logs: bool = True) -> Iterator[None]:
    """Connect this process to Ray for the duration of the block.

    ``address`` (or RAY_ADDRESS) is ``host:6379``, ``ray://host:10001``, or ``auto`` for a cluster that ``ray start``
    started on this machine. Without either, a local Ray starts with ``num_cpus`` logical CPUs, rounded up (default: the
    machine's cores), and stops when the block ends. Its dashboard listens on loopback only, and a token protects its
    other ports. A process that is already connected stays connected. Raises ClusterError if the cluster is unreachable.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address == "local":
        _start_local(num_cpus, worker_logs)
    else:
        _join(address, worker_logs)
    try:
        yield
    finally:
        ray.shutdown()


def _start_local(num_cpus: float | None, worker_logs: bool) -> None:
    if " " in sys.executable:
        # Ray splits the worker command at spaces and then retries for minutes.
        raise ClusterError(
            f"Ray cannot start workers with {sys.executable}: move the checkout to a path without spaces"
        )
    import ray

    # Otherwise each worker warns about a default that will change. A CPU job sees no GPUs in either case.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    silence_token_notice()
    ray.init(
        address="local",
        num_cpus=None if num_cpus is None else math.ceil(num_cpus),
        log_to_driver=worker_logs,
        logging_level=logging.WARNING,
        # Required: Ray Train frees the resources of stopped Tune trials through the dashboard's state API.
        include_dashboard=True,
        dashboard_host="127.0.0.1",
    )


def _join(address: str, worker_logs: bool) -> None:
    import ray
    from ray.exceptions import AuthenticationError

    if address != "auto":
        require_listener(address, service="Ray", hint="is the cluster running (ray status)?")
    silence_token_notice()
    try:
        ray.init(address=address, log_to_driver=worker_logs, logging_level=logging.WARNING)
    except AuthenticationError:
        raise ClusterError(f"the Ray cluster at {address} requires a token: {TOKEN_ADVICE}") from None
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        # Ray reports a rejected token like a port of another program.
        hint = "" if address == "auto" else f"; if the cluster requires a token, {TOKEN_ADVICE}"
        raise ClusterError(f"cannot connect to the Ray cluster at {address}: {reason}{hint}") from error


def require_listener(address: str, *, service: str, hint: str) -> None:
    """Raise ClusterError unless ``host:port`` or a URL accepts TCP connections within 5 seconds."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port or {"https": 443, "http": 80, "ray": 10001}.get(parts.scheme)
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise ClusterError(f"'{address}' is not a valid address of {service}: give HOST:PORT")
    try:
        socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ClusterError(f"{service} does not answer at {address} ({reason}): {hint}") from None
