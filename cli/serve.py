"""The command serve."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer


def serve(
    index: Annotated[Path, typer.Option(help="Index folder.")],
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    host: Annotated[str, typer.Option(help="Beyond loopback, SIGNATLAS_API_KEY is required.")] = "127.0.0.1",
    version: Annotated[
        str | None, typer.Option(help="Index version to serve (default: the live one, also after it changes).")
    ] = None,
    corpus: Annotated[str | None, typer.Option(help="Path of the index's corpus, if it has moved.")] = None,
    replicas: Annotated[int, typer.Option(min=1, help="Replicas of the encoder.")] = 1,
    num_cpus: Annotated[int | None, typer.Option(min=1, help="CPUs of the local Ray (default: all).")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster (default: RAY_ADDRESS or a local one).")] = None,
) -> None:
    """Serve an index over HTTP with Ray Serve, until Ctrl-C.

    Example: signatlas serve --index indexes/dgs --port 8000
    """
    from cluster.connect import connected
    from serve import service
    from serve.builder import parse
    from serve.config import key_digest
    from signatlas.retrieval.index_version import IndexVersion

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
    # Report mistakes before Ray starts, which takes seconds.
    index_version = IndexVersion.open(config.index, version, verify=True)
    index_version.require_signs()
    service.require_free_port(host, port)
    with connected(address, num_cpus=num_cpus, worker_logs=False):
        # SIGTERM stops the service like Ctrl-C. Set after connecting, because Ray installs a handler of its own.
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        manifest = index_version.manifest
        url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
        try:
            service.start(config)
            print(f"{manifest.count:,} signs of {manifest.corpus.name}, version {index_version.version}")
            print(f"serving at {url}, API documentation at {url}/docs; press Ctrl-C to stop", flush=True)
            service.watch(config, index_version.version)
        except KeyboardInterrupt:
            print("stopping the service", flush=True)
        finally:
            service.stop()
