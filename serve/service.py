"""Start and stop a service, and switch it to a new index version while it runs."""

from __future__ import annotations

import logging
import socket
import time
from typing import Any

from ray import serve

from serve.builder import build
from serve.config import ServeConfig
from signatlas.errors import UserError
from signatlas.retrieval.index_version import IndexVersion, current

APPLICATION = "signatlas"
POLL_S = 2.0  # how often the live version is read


def start(config: ServeConfig, previous: str | None = None) -> None:
    """Deploy or redeploy the application on the connected Ray; return when every deployment is ready.

    ``previous`` is the index version that is being replaced, if any. Raises UserError if a deployment does not start.
    """
    application = build(config, previous)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(http_options={"host": config.host, "port": config.port}, logging_config={"log_level": "WARNING"})
    quiet = {"log_level": "WARNING", "enable_access_log": False}
    try:
        router: Any = serve.run(application, name=APPLICATION, route_prefix="/", logging_config=quiet)
        version = config.version or current(config.index)
        messages = router.other_versions.remote(version).result(timeout_s=60)
    except (RuntimeError, TimeoutError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"the service did not start: {reason}; see the Ray Serve log") from error
    if messages:
        raise UserError(f"cannot serve version {version}: {', '.join(messages)}; see the Ray Serve log")


def stop() -> None:
    """Stop all Ray Serve applications of the connected Ray."""
    serve.shutdown()


def watch(config: ServeConfig, version: str) -> None:
    """Block until interrupted; switch from ``version`` to each version that becomes live.

    A configuration that names a version is never switched.
    """
    last_error = ""
    while True:
        time.sleep(POLL_S)
        if config.version is not None:
            continue
        try:
            live = switch_version(config, version)
        except UserError as error:
            if str(error) != last_error:
                print(f"still serving version {version}: {error}", flush=True)
            last_error = str(error)
            continue
        if live != version:
            print(f"now serving version {live}", flush=True)
        version, last_error = live, ""


def switch_version(config: ServeConfig, served: str) -> str:
    """Switch from ``served`` to the live version, replica by replica; return the version that is served now.

    Raises IndexVersionError if the live version is damaged, before anything changes, and UserError if it does not
    start on the cluster, after switching back to ``served``.
    """
    live = current(config.index)
    if live == served:
        return served
    IndexVersion.open(config.index, live, verify=True).require_signs()
    try:
        start(config.model_copy(update={"version": live}), previous=served)
    except UserError:
        start(config.model_copy(update={"version": served}), previous=live)
        raise
    return live


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
