"""signatlas serve: one index over HTTP, until Ctrl-C; a newly activated version is taken up while it runs."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signatlas.errors import UserError

if TYPE_CHECKING:
    from serve.config import ServeConfig

WATCH_S = 2.0
NAME = "signatlas"


def serve(
    index: Annotated[Path, typer.Option(help="Index folder.")],
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    host: Annotated[str, typer.Option(help="Beyond loopback only with SIGNATLAS_API_KEY.")] = "127.0.0.1",
    version: Annotated[str | None, typer.Option(help="Serve this version [follow the live one].")] = None,
    corpus: Annotated[str | None, typer.Option(help="Where the index's corpus lies now.")] = None,
    replicas: Annotated[int, typer.Option(min=1, help="Replicas of the encoder.")] = 1,
    num_cpus: Annotated[int | None, typer.Option(min=1, help="CPUs of the local Ray [all].")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster [RAY_ADDRESS or a local one].")] = None,
) -> None:
    """Serve an index over HTTP with Ray Serve, until Ctrl-C.

    Example: signatlas serve --index indexes/dgs --port 8000
    """
    from cluster.connect import connected
    from serve.builder import parse
    from serve.config import key_digest
    from signatlas.retrieval.index_version import Snapshot

    key = os.environ.get("SIGNATLAS_API_KEY")
    config = parse(
        {
            "index": str(index.absolute()),
            "version": version,
            "corpus": str(Path(corpus).absolute()) if corpus and "://" not in corpus else corpus,
            "host": host,
            "port": port,
            "encoder": {"num_cpus": 0.2, "replicas": replicas},
            "api_key_sha256": key_digest(key) if key else None,
        }
    )
    # Everything that can be wrong is looked at before Ray takes its seconds to start.
    snapshot = Snapshot.open(config.index, version, verify=True)
    snapshot.require_signs()
    require_free_port(host, port)
    with connected(address, num_cpus=num_cpus, worker_logs=False):
        # A supervisor's SIGTERM ends it like Ctrl-C. After connecting, because Ray sets a handler of its own.
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        try:
            start(config)
            where = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
            print(f"{snapshot.manifest.count:,} signs of {snapshot.manifest.corpus.name}, version {snapshot.version}")
            print(f"serving at {where}, interface at {where}/docs; Ctrl-C ends it", flush=True)
            _follow(config, snapshot.version)
        except KeyboardInterrupt:
            print("ending the service", flush=True)
        finally:
            stop()


def start(config: ServeConfig, previous: str | None = None) -> None:
    """Deploy (or redeploy) on the Ray that this process is connected to; returns once every part is ready.

    ``previous`` is the version that it replaces, if any. Raises UserError when a part does not start.
    """
    import logging

    from ray import serve as ray_serve

    from serve.builder import build
    from signatlas.retrieval.index_version import current

    application = build(config, previous)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    ray_serve.start(http_options={"host": config.host, "port": config.port}, logging_config={"log_level": "WARNING"})
    try:
        router: Any = ray_serve.run(application, name=NAME, route_prefix="/", logging_config=_quiet())
        version = config.version or current(config.index)
        behind = router.behind.remote(version).result(timeout_s=60)
    except (RuntimeError, TimeoutError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"the service did not start: {reason}; see the log of Ray Serve") from error
    if behind:
        raise UserError(f"version {version} could not be taken up: {', '.join(behind)}; see the log of Ray Serve")


def _quiet() -> dict[str, Any]:
    return {"log_level": "WARNING", "enable_access_log": False}


def stop() -> None:
    from ray import serve as ray_serve

    ray_serve.shutdown()


def _follow(config: ServeConfig, served: str) -> None:
    """Wait for Ctrl-C; meanwhile take up whatever version becomes the live one, unless one was asked for by name."""
    complaint = ""
    while True:
        time.sleep(WATCH_S)
        if config.version is not None:
            continue
        try:
            taken = take_up(config, served)
        except UserError as error:
            if str(error) != complaint:
                print(f"version {served} goes on serving: {error}", flush=True)
            complaint = str(error)
            continue
        if taken != served:
            print(f"serving version {taken} now", flush=True)
        served, complaint = taken, ""


def take_up(config: ServeConfig, served: str) -> str:
    """Serve the live version in place of ``served``, replica by replica; returns what is served now.

    Raises SnapshotError for a damaged version, before anything changes, and UserError when it does not start on the
    cluster, after going back to ``served``.
    """
    from signatlas.retrieval.index_version import Snapshot, current

    found = current(config.index)
    if found == served:
        return served
    Snapshot.open(config.index, found, verify=True).require_signs()
    try:
        start(config.model_copy(update={"version": found}), previous=served)
    except UserError:
        start(config.model_copy(update={"version": served}), previous=found)
        raise
    return found


def require_free_port(host: str, port: int) -> None:
    """Raises UserError when another program listens there, or the host is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(f"cannot serve at {host}:{port}: {reason}; choose another --port or --host") from error
