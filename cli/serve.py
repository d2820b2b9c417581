"""The command serve."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signatlas.errors import UserError

if TYPE_CHECKING:
    from serve.config import ServeConfig


def serve(
    index: Annotated[list[Path] | None, typer.Option(help="Index folder; may be given several times.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Translator: a model folder or a Hub name.")] = None,
    video: Annotated[
        bool, typer.Option("--video", help="Take videos too: a pose extractor with MediaPipe, in processes of its own.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="serve.yaml, instead of --index and --model.")] = None,
    write_config: Annotated[
        Path | None, typer.Option(help="Write the file for 'serve deploy' and end, instead of serving.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port (default: 8000).")] = None,
    host: Annotated[str | None, typer.Option(help="Beyond loopback, --keys is required.")] = None,
    keys: Annotated[str | None, typer.Option(help="File of keys, see 'signatlas keys'.")] = None,
    allow_anonymous: Annotated[bool, typer.Option("--allow-anonymous", help="No keys; on loopback only.")] = False,
    version: Annotated[
        str | None, typer.Option(help="Index version to serve (default: the live one, also after it changes).")
    ] = None,
    corpus: Annotated[str | None, typer.Option(help="Path of the index's corpus, if it has moved.")] = None,
    colocate: Annotated[
        bool, typer.Option("--colocate/--distribute", help="Search in the gateway's process, or in deployments.")
    ] = False,
    changes: Annotated[
        bool, typer.Option("--changes", help="Take additions and removals of signs: POST and DELETE /v1/signs.")
    ] = False,
    replicas: Annotated[int, typer.Option(min=1, help="Replicas of each encoder and shard.")] = 1,
    num_cpus: Annotated[int | None, typer.Option(min=1, help="CPUs of the local Ray (default: all).")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster (default: RAY_ADDRESS or a local one).")] = None,
) -> None:
    """Serve indexes and translators over HTTP with Ray Serve, until Ctrl-C.

    On a loopback address without --keys, a key is made for this run and printed.

    Example: signatlas serve --index indexes/dgs --port 8000

    Example: signatlas serve --config serve.yaml --write-config deploy.yaml
    """
    from serve.config import load

    if (config is None) == (not index and not model):
        raise UserError("give what to serve: --index FOLDER, --model FOLDER or --config FILE")
    if config is not None:
        settings = load(config)
        if version or corpus or colocate or changes or replicas > 1 or video:
            raise UserError(
                "--version, --corpus, --colocate, --changes, --replicas and --video belong into the --config file"
            )
    else:
        settings = _settings(index or [], model or [], version, corpus, colocate, replicas, changes, video)
    settings, secret = _with_address(settings, host, port, keys, allow_anonymous, ephemeral=write_config is None)
    if write_config is not None:
        _write(settings, write_config)
        return
    _check(settings)
    _run(settings, secret, num_cpus, address)


def _settings(
    indexes: list[Path],
    models: list[str],
    version: str | None,
    corpus: str | None,
    colocate: bool,
    replicas: int,
    changes: bool,
    video: bool,
) -> ServeConfig:
    from serve.config import parse

    if len(indexes) > 1 and (version or corpus):
        raise UserError("--version and --corpus belong to one --index: use --config for several")
    applications: list[dict[str, Any]] = []
    part = {"num_replicas": replicas} if replicas > 1 else {}
    for folder in indexes:
        applications.append({
            "kind": "index", "name": _name(folder.name, "index", applications), "index": str(folder.absolute()),
            "version": version, "corpus": _absolute(corpus), "colocate": colocate, "encoder": part, "shard": part,
            "writer": {} if changes else None,
        })  # fmt: skip
    for name in models:
        applications.append({
            "kind": "translator", "name": _name(_model_name(name), "translator", applications),
            "model": _absolute(name),
        })  # fmt: skip
    extractor: dict[str, Any] | None = {"num_replicas": replicas} if replicas > 1 else {}
    return parse({"applications": applications, "extractor": extractor if video else None})


def _model_name(model: str) -> str:
    """Return the name of a run, for its model folder, else that of the folder."""
    path = Path(model)
    return path.parent.name if path.name == "model" else path.name


def _name(wanted: str, fallback: str, applications: list[dict[str, Any]]) -> str:
    """Return a name that a service accepts and that is not taken."""
    import re

    name = re.sub(r"[^a-z0-9_-]+", "-", wanted.lower()).strip("-_")[:60] or fallback
    taken = {application["name"] for application in applications} | {"gateway", "healthz"}
    number = 2
    unique = name
    while unique in taken:
        unique, number = f"{name}-{number}", number + 1
    return unique


def _absolute(path: str | None) -> str | None:
    if path is None or "://" in path or not Path(path).exists():
        return path
    return str(Path(path).absolute())


def _with_address(
    settings: ServeConfig, host: str | None, port: int | None, keys: str | None, allow_anonymous: bool, ephemeral: bool
) -> tuple[ServeConfig, str | None]:
    """Return the settings with the command's address and keys, and the secret of a key made for this run."""
    from serve.config import is_loopback, parse
    from serve.keys import generate

    raw = settings.model_dump(mode="json")
    raw["http"] |= {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    access = raw["gateway"]["authorization"]
    if keys is not None:
        access["keys"] = _absolute(keys)
    if allow_anonymous:
        access["allow_anonymous"] = True
    secret = None
    if ephemeral and access["keys"] is None and not access["allow_anonymous"] and is_loopback(raw["http"]["host"]):
        key, secret = generate("run", "write")
        access["run_key_sha256"] = key.sha256
    return parse(raw), secret


def _write(settings: ServeConfig, path: Path) -> None:
    import yaml

    from serve.app import deploy_file

    path.write_text(yaml.safe_dump(deploy_file(settings), sort_keys=False, allow_unicode=True), encoding="utf-8")
    print(f"{path}: deploy it with 'serve deploy {path}', in the checkout or with it as the working_dir")
    access = settings.gateway.authorization
    if access.keys is None and not access.allow_anonymous:
        print("note: it names no keys, so nobody may call /v1: give --keys FILE", file=sys.stderr)


def _check(settings: ServeConfig) -> None:
    """Report mistakes before Ray starts, which takes seconds."""
    from serve.service import require_free_port
    from signatlas.models import model_type
    from signatlas.models.registry import TRANSLATOR, describe
    from signatlas.retrieval.index_version import IndexVersion

    for index in settings.indexes():
        IndexVersion.open(index.index, index.version, verify=True)
    for translator in settings.translators():
        if model_type(translator.model) != TRANSLATOR:
            raise UserError(f"{translator.model} is {describe(translator.model)}, not a translator: give a translator")
    if settings.gateway.authorization.keys is not None:
        from serve.keys import KeyRing

        KeyRing.open(settings.gateway.authorization.keys)
    require_free_port(settings.http.host, settings.http.port)


def _run(settings: ServeConfig, secret: str | None, num_cpus: int | None, address: str | None) -> None:
    import os

    from cli.shared import status
    from cluster.connect import connected
    from serve import service

    os.environ.pop("SIGNATLAS_API_KEY", None)  # processes of a local Ray would inherit it
    with connected(address, num_cpus=num_cpus, worker_logs=False):
        # A script that starts the service with & leaves SIGINT ignored: both signals are set here, after connecting,
        # because Ray installs handlers of its own.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        try:
            with status("starting the service") as progress:
                service.start(settings, progress)
            _print_start(settings, secret)
            service.watch(settings)
        except KeyboardInterrupt:
            print("stopping the service: requests in flight are answered", flush=True)
        finally:
            # A second signal must not interrupt the end.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            service.stop(settings)


def _print_start(settings: ServeConfig, secret: str | None) -> None:
    from signatlas.retrieval.index_version import IndexVersion

    http = settings.http
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(http.host, f"[{http.host}]" if ":" in http.host else http.host)
    url = f"http://{host}:{http.port}"
    for index in settings.indexes():
        opened = IndexVersion.open(index.index, index.version, verify=False)
        print(f"{index.name}: {opened.manifest.describe()}, version {opened.version}")
    for translator in settings.translators():
        print(f"{translator.name}: translator {translator.model}")
    if settings.extractor is not None:
        print("videos: MediaPipe Holistic in processes of its own")
    print(f"serving at {url}, API documentation at {url}/docs; press Ctrl-C to stop")
    if secret is not None:
        print(f"key of this run: curl -H 'Authorization: Bearer {secret}' {url}/v1/indexes")
    sys.stdout.flush()
