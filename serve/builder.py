"""Put the deployments of one index together into a Ray Serve application."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import ValidationError
from ray import serve
from ray.serve import Application

import signatlas
from serve.config import Scale, ServeConfig
from serve.deployments import Encoder, Shard
from serve.router import Router
from signatlas.errors import UserError
from signatlas.retrieval.index_version import Snapshot


def build(config: ServeConfig | dict[str, Any], previous: str | None = None) -> Application:
    """The application of a configuration, for ``serve.run`` and ``serve run serve.builder:build index=...``.

    ``previous`` is the version that is being replaced: the parts also load it for the time of the exchange.
    Raises SnapshotError when the version cannot be opened, UserError for a wrong configuration.
    """
    config = parse(config)
    snapshot = Snapshot.open(config.index, config.version, verify=False)
    snapshot.require_signs()
    manifest = snapshot.manifest
    # The version is user_config and no argument: a configuration deployed with `serve deploy` swaps it in place.
    fixed = config.model_copy(update={"version": None})
    described = f"{signatlas.__version__} {len(manifest.shards)} {fixed.model_dump_json()}"
    code = hashlib.sha256(described.encode()).hexdigest()
    version = {"version": manifest.version, "previous": previous}
    encoder = _deployment(Encoder, "Encoder", config.encoder, version, code).bind(fixed)
    shards = [_deployment(Shard, f"Shard{n}", config.shard, version, code).bind(fixed, n)
              for n in range(len(manifest.shards))]  # fmt: skip
    router: Application = _deployment(Router, "Router", config.router, version, code).bind(fixed, encoder, shards)
    return router


def parse(config: ServeConfig | dict[str, Any]) -> ServeConfig:
    """Raises UserError with the first thing that is wrong."""
    if isinstance(config, ServeConfig):
        return config
    try:
        return ServeConfig.model_validate(config)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise UserError(f"service configuration: {where}: {what}" if where else what) from error


def _deployment(kind: type, name: str, scale: Scale, user_config: dict[str, str | None], code: str) -> Any:
    options: dict[str, Any] = {
        "name": name,
        "ray_actor_options": {"num_cpus": scale.num_cpus, "num_gpus": scale.num_gpus},
        "max_ongoing_requests": scale.max_ongoing_requests,
        "user_config": user_config,
        "graceful_shutdown_wait_loop_s": 0.5,
        "graceful_shutdown_timeout_s": 30,
    }
    if scale.max_replicas and scale.max_replicas > scale.replicas:
        options["autoscaling_config"] = {"min_replicas": scale.replicas, "max_replicas": scale.max_replicas}
    else:
        options["num_replicas"] = scale.replicas
    deployment = serve.deployment(**options)(kind)
    # Without a name for the code Ray replaces every replica at each serve.run. With one, only user_config is passed on
    # where nothing else has changed. ray.serve has no public option for it; test_versions.py watches over it.
    deployment._version = code
    return deployment
