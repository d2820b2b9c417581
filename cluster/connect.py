"""Connect this process to Ray: a cluster that is named, or a local one that ends with the block."""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from signatlas.errors import UserError

PROBE_SECONDS = 5.0
TOKEN_ADVICE = "set RAY_AUTH_MODE=token and put the cluster's token into ~/.ray/auth_token, see docs/cluster.md"


class ClusterError(UserError):
    """A cluster that cannot be reached, or that refuses what it was asked for."""


@contextmanager
def connected(address: str | None = None, *, num_cpus: float | None = None, worker_logs: bool = True) -> Iterator[None]:
    """Be connected to Ray inside the block.

    ``address`` (or RAY_ADDRESS) is ``host:6379``, ``ray://host:10001``, or ``auto`` for a cluster that ``ray start``
    began on this machine. Without either, a local Ray starts with ``num_cpus`` logical CPUs, rounded up (default: the
    machine's cores), and stops when the block ends; its dashboard answers on this machine only, and a token guards
    the rest. A process that is connected already stays as it is. Raises ClusterError when there is no such cluster.
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
        # Ray splits the command that starts a worker at spaces, and then retries for minutes.
        raise ClusterError(
            f"Ray cannot start workers with {sys.executable}: move the checkout to a path without spaces"
        )
    import ray

    # Ray warns once a worker about a default that changes later; a CPU job never sees GPUs either way.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    _hush()
    ray.init(
        address="local",
        num_cpus=None if num_cpus is None else math.ceil(num_cpus),
        log_to_driver=worker_logs,
        logging_level=logging.WARNING,
        # The dashboard stays on: Tune frees the resources of stopped trials through its state API.
        include_dashboard=True,
        dashboard_host="127.0.0.1",
    )


def _join(address: str, worker_logs: bool) -> None:
    import ray
    from ray.exceptions import AuthenticationError

    if address != "auto":
        require_listener(address, what="Ray", hint="is the cluster up (ray status)?")
    _hush()
    try:
        ray.init(address=address, log_to_driver=worker_logs, logging_level=logging.WARNING)
    except AuthenticationError:
        raise ClusterError(f"the Ray cluster at {address} asks for a token: {TOKEN_ADVICE}") from None
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        # Ray does not tell a refused token from a port that is not its own.
        hint = "" if address == "auto" else f"; if the cluster asks for a token, {TOKEN_ADVICE}"
        raise ClusterError(f"cannot join the Ray cluster at {address}: {reason}{hint}") from error


def require_listener(address: str, *, what: str, hint: str) -> None:
    """Raise ClusterError unless something accepts TCP connections at ``host:port`` or a URL, within 5 seconds."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port or {"https": 443, "http": 80, "ray": 10001}.get(parts.scheme)
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise ClusterError(f"'{address}' is no address of {what}: give HOST:PORT")
    try:
        socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ClusterError(f"{what} does not answer at {address} ({reason}): {hint}") from None


def _hush() -> None:
    """Without this Ray says at every start that a token protects it."""
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
