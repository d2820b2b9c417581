"""The Ray Serve applications of a service: gateway, health, and one for each index or model.

``serve.app:build`` is what ``serve run`` and the file of ``serve deploy`` name; see ``signatlas serve --write-config``.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from cluster.ray_internals import set_code_version
from serve.config import (
    DeploymentOptions,
    ExtractorOptions,
    IndexApplication,
    ScaledOptions,
    ServeConfig,
    TranslatorApplication,
    parse,
)
from serve.encoder import Encoder
from serve.extractor import Extractor
from serve.parts import application_name, num_shards, writer_name
from serve.scaling import with_queued_work_policy
from serve.shard import Shard
from serve.updater import Updater
from serve.writer import Writer
from signatlas.config import Strict, dump_absolute

GATEWAY, HEALTH = application_name("gateway"), application_name("healthz")
EXTRACTOR = application_name("extractor")
HEALTH_OPTIONS = DeploymentOptions(num_replicas=1, ray_actor_options={"num_cpus": 0}, max_ongoing_requests=1000)
PACKAGES = ("serve", "signatlas", "cluster")


class AppSpec(NamedTuple):
    """A Ray Serve application: its name, its path (None: reached by handle only) and which part it is."""

    name: str
    route_prefix: str | None
    part: str


class BuildArguments(BaseModel):
    """Arguments of :func:`build` in a file of ``serve deploy``. With ``sources``, changed code is deployed."""

    model_config = ConfigDict(extra="forbid")

    part: str = "gateway"
    service: dict[str, Any]
    sources: str = ""


def specs(config: ServeConfig) -> list[AppSpec]:
    """Return the applications of a service, the gateway last."""
    parts = [
        AppSpec(application_name(application.name), None, application.name)
        for application in config.applications
        if not (isinstance(application, IndexApplication) and application.colocate)
    ]
    writers = [writer_name(index.name) for index in config.indexes() if index.writer is not None]
    parts += [AppSpec(application_name(name), None, name) for name in writers]
    if config.extractor is not None:
        parts.append(AppSpec(EXTRACTOR, None, "extractor"))
    return [AppSpec(HEALTH, "/healthz", "healthz"), *parts, AppSpec(GATEWAY, "/", "gateway")]


def build(arguments: BuildArguments | dict[str, Any]) -> Application:
    """Return one application of a service: ``serve run serve.app:build`` or an import path of ``serve deploy``.

    Raises UserError for an invalid configuration, IndexVersionError when an index cannot be opened.
    """
    if isinstance(arguments, dict):
        # `serve run serve.app:build index=...` gives plain strings, and runs this one application only.
        if "service" not in arguments:
            arguments = {"service": simple(**arguments)}
        arguments = BuildArguments.model_validate(arguments)
    return application(parse(arguments.service), arguments.part)


def simple(index: str, name: str = "index", **other: Any) -> dict[str, Any]:
    """Return the configuration of one index in the gateway's process, for a try on a loopback address without keys."""
    application = {"kind": "index", "name": name, "index": index, **other, "colocate": True}
    return {"gateway": {"authorization": {"allow_anonymous": True}}, "applications": [application]}


def application(config: ServeConfig, part: str) -> Application:
    """Return the application of one part: ``gateway``, ``healthz``, ``extractor``, or the name of an index or model.

    Raises IndexVersionError when an index cannot be opened.
    """
    if part == "healthz":
        from serve.health import Health

        return _deployment(Health, "Health", HEALTH_OPTIONS, config).bind()
    if part == "extractor" and config.extractor is not None:
        extractor: Application = _scaled(ExtractorReplica, "Extractor", config.extractor, config.extractor).bind()
        return extractor
    if part == "gateway":
        from serve.gateway import Gateway

        parts = tuple(with_shard_count(a) if isinstance(a, IndexApplication) else a for a in config.applications)
        config = config.model_copy(update={"applications": parts})
        return _deployment(Gateway, "Gateway", config.gateway, config).bind(config)
    for index in config.indexes():
        if part == writer_name(index.name) and index.writer is not None:
            url = f"http://{config.http.host}:{config.http.port}"
            return _deployment(WriterReplica, "Writer", index.writer, index).bind(index, url)
    (found,) = [a for a in config.applications if a.name == part]
    return _translator(found) if isinstance(found, TranslatorApplication) else _index(with_shard_count(found))


def with_shard_count(index: IndexApplication) -> IndexApplication:
    """Return ``index`` with its number of shard deployments. Raises IndexVersionError.

    It is decided when the service is deployed: a replica that starts after another version became live, or while the
    folder cannot be read, would otherwise count other shards than the rest of the service.
    """
    return index.model_copy(update={"shards": num_shards(index)})


def _index(index: IndexApplication) -> Application:
    count = num_shards(index)
    encoder = _scaled(EncoderReplica, "Encoder", index.encoder, index).bind(index)
    shards = [_deployment(ShardReplica, f"Shard{n}", index.shard, index).bind(index, n, count) for n in range(count)]
    updater: Application = _deployment(UpdaterReplica, "Updater", index.updater, index).bind(
        index, count, encoder, shards
    )
    return updater


def _translator(translator: TranslatorApplication) -> Application:
    from serve.translator import Translator

    application: Application = _scaled(Translator, "Translator", translator.translator, translator).bind(translator)
    return application


def _deployment(cls: type, name: str, options: DeploymentOptions, settings: Strict) -> Any:
    deployment = serve.deployment(name=name, **options.options())(cls)
    # Without a version, every `serve.run` replaces every replica. The settings that replicas get are part of it: with
    # an equal version Ray Serve takes a deployment for unchanged.
    digest = hashlib.sha256(settings.model_dump_json().encode()).hexdigest()
    set_code_version(deployment, f"{source_hash()}-{digest[:16]}")
    return deployment


def _scaled(cls: type, name: str, options: ScaledOptions | ExtractorOptions, settings: Strict) -> Any:
    """Return a deployment that Ray Serve scales by its queued work, where its options let it scale."""
    if options.autoscaling_config is not None:
        scaling = with_queued_work_policy(options.autoscaling_config, options.target_wait_s)
        options = options.model_copy(update={"autoscaling_config": scaling})
    return _deployment(cls, name, options, settings)


@lru_cache(maxsize=1)
def source_hash() -> str:
    """Return a hash of the sources that replicas import: changed code is then deployed."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in (".py", ".html", ".js", ".css"):
                digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def deploy_file(config: ServeConfig) -> dict[str, Any]:
    """Return the content of a file for ``serve deploy``; the same fits ``serveConfigV2`` of a RayService."""
    service = dump_absolute(config)
    http = config.http
    return {
        "proxy_location": "EveryNode",
        "http_options": {
            "host": http.host, "port": http.port, "request_timeout_s": http.request_timeout_s,
            "keep_alive_timeout_s": http.keep_alive_timeout_s,
        },
        "applications": [
            {
                "name": spec.name, "route_prefix": spec.route_prefix, "import_path": "serve.app:build",
                "args": {"part": spec.part, "service": service, "sources": source_hash()},
            }
            for spec in specs(config)
        ],
    }  # fmt: skip


def _updater_handle() -> DeploymentHandle:
    return serve.get_deployment_handle("Updater", app_name=serve.get_replica_context().app_name)


class EncoderReplica(Encoder):
    """The encoder as a Ray Serve deployment."""

    async def __init__(self, config: IndexApplication) -> None:  # type: ignore[misc]
        super().__init__(config)
        await self.start(_updater_handle())


class ExtractorReplica(Extractor):
    """The pose extractor as a Ray Serve deployment."""

    async def __init__(self) -> None:  # type: ignore[misc]
        super().__init__()
        await self.start()

    def __del__(self) -> None:
        self.close()


class ShardReplica(Shard):
    """A shard as a Ray Serve deployment."""

    async def __init__(self, config: IndexApplication, number: int, of: int) -> None:  # type: ignore[misc]
        super().__init__(config, number, of)
        await self.start(_updater_handle())


class WriterReplica(Writer):
    """The writer as a Ray Serve deployment."""

    async def __init__(self, config: IndexApplication, url: str) -> None:  # type: ignore[misc]
        super().__init__(config, url)
        self.follow()

    async def __del__(self) -> None:
        await self.close()


class UpdaterReplica(Updater):
    """The updater as a Ray Serve deployment."""

    async def __init__(self, config: IndexApplication, num_shards: int, encoder: Any, shards: Any) -> None:  # type: ignore[misc]
        super().__init__(config, num_shards, encoder, shards)
        self.follow(serve.get_replica_context().app_name)
