"""Start the applications of a service on the connected Ray, wait until they are ready, follow them, stop them."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import Any

from ray import serve
from ray.exceptions import RayError

from serve.app import GATEWAY, application, specs
from serve.config import ServeConfig, is_loopback
from signatlas.errors import UserError

POLL_S = 2.0  # how often the updaters are asked for news
READY_TIMEOUT_S = 300.0
ERRORS = (RuntimeError, TimeoutError, RayError)
QUIET = {"log_level": "WARNING", "enable_access_log": False}


def start(config: ServeConfig, report: Callable[[str], Any] = lambda line: None) -> None:
    """Deploy or redeploy the applications; return when every replica is ready. ``report`` receives progress.

    Raises UserError if one does not start.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    http = config.http
    options = {
        "host": http.host, "port": http.port, "request_timeout_s": http.request_timeout_s,
        "keep_alive_timeout_s": http.keep_alive_timeout_s,
    }  # fmt: skip
    try:
        serve.start(http_options=options, logging_config=QUIET)
    except ERRORS as error:
        raise UserError(f"Ray Serve did not start: {_reason(error)}; is the machine overloaded?") from error
    for spec in specs(config):
        report(f"starting {spec.part}")
        try:
            serve.run(
                application(config, spec.part), name=spec.name, route_prefix=spec.route_prefix, logging_config=QUIET
            )
        except ERRORS as error:
            raise UserError(f"{spec.part} did not start: {_reason(error)}; see the Ray Serve log") from error
    wait_until_ready(READY_TIMEOUT_S)
    _require_listening(http.host, http.port)


def wait_until_ready(timeout_s: float) -> None:
    """Return when the gateway says that every replica serves the live version. Raises UserError."""
    gateway: Any = serve.get_app_handle(GATEWAY)
    deadline = time.monotonic() + timeout_s
    missing: list[str] = ["the gateway does not answer"]
    while time.monotonic() < deadline:
        try:
            missing = gateway.missing.remote().result(timeout_s=30)
        except ERRORS as error:
            missing = [f"the gateway does not answer ({_reason(error)})"]
        if not missing:
            return
        time.sleep(0.2)
    raise UserError(f"the service did not become ready: {'; '.join(missing)}; see the Ray Serve log")


def _require_listening(host: str, port: int) -> None:
    """Raise UserError if Ray Serve listens elsewhere: its first service on a cluster decides about the port."""
    if not is_loopback(host):  # perhaps not an address of this machine
        return
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        raise UserError(
            f"Ray Serve on this cluster already runs with another address than {host}:{port}: stop it first "
            "('serve shutdown'), or give its --host and --port"
        ) from None


def stop(config: ServeConfig) -> None:
    """Delete the applications of the service, the gateway first; requests in flight are answered.

    Other applications on the cluster stay, and so does Ray Serve itself.
    """
    running = serve.status().applications
    for spec in reversed(specs(config)):
        if spec.name in running:
            serve.delete(spec.name)


def watch(config: ServeConfig) -> None:
    """Block until interrupted, and print which index versions become live and what keeps one from it."""
    handles = {index.name: index for index in config.indexes()}
    states: dict[str, tuple[Any, Any]] = {}
    gateway: Any = serve.get_app_handle(GATEWAY)
    while True:
        time.sleep(POLL_S)
        try:
            news = gateway.news.remote().result(timeout_s=30)
        except Exception:  # a replica restarts or Ray has a hiccup: the service goes on without this loop
            continue
        for name in handles:
            live, message = news.get(name, (None, ""))
            before = states.get(name, (live, ""))
            prefix = f"{name}: " if len(handles) > 1 else ""
            if live is not None and live != before[0]:
                print(f"{prefix}now serving version {live}", flush=True)
            if message and message != before[1]:
                print(f"{prefix}{message}", flush=True)
            states[name] = (live or before[0], message)


def require_free_port(host: str, port: int) -> None:
    """Raise UserError if another program listens on the port, or ``host`` is not an address of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(f"cannot serve at {host}:{port}: {reason}; choose another --port or --host") from error


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
