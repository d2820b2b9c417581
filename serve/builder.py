"""Build a Ray Serve application from the deployments that serve one index."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import ValidationError
from ray import serve
from ray.serve import Application

import signatlas
from cluster.ray_internals import set_code_version
from serve.config import DeploymentConfig, ServeConfig
from serve.deployments import Encoder, Shard
from serve.router import Router
from signatlas.errors import UserError
from signatlas.retrieval.index_version import IndexVersion


def build(config: ServeConfig | dict[str, Any], previous: str | None = None) -> Application:
    """Return the application of a configuration, for ``serve.run`` or ``serve run serve.builder:build index=...``.

    ``previous`` is the index version that is being replaced: the deployments keep it loaded during the switch.
    Raises IndexVersionError when the version cannot be opened, UserError for an invalid configuration.
    """
    config = parse(config)
    index_version = IndexVersion.open(config.index, config.version, verify=False)
    index_version.require_signs()
    manifest = index_version.manifest
    # The version is passed as user_config, not as an argument: `serve deploy` can then switch it without a restart.
    fixed = config.model_copy(update={"version": None})
    code_and_settings = f"{signatlas.__version__} {len(manifest.shards)} {fixed.model_dump_json()}"
    code = hashlib.sha256(code_and_settings.encode()).hexdigest()
    version = {"version": manifest.version, "previous": previous}
    encoder = _deployment(Encoder, "Encoder", config.encoder, version, code).bind(fixed)
    shards = [_deployment(Shard, f"Shard{n}", config.shard, version, code).bind(fixed, n)
              for n in range(len(manifest.shards))]  # fmt: skip
    router: Application = _deployment(Router, "Router", config.router, version, code).bind(fixed, encoder, shards)
    return router


def parse(config: ServeConfig | dict[str, Any]) -> ServeConfig:
    """Validate a configuration. Raises UserError with its first mistake."""
    if isinstance(config, ServeConfig):
        return config
    try:
        return ServeConfig.model_validate(config)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"service configuration: {field}: {message}" if field else message) from error


def _deployment(
    cls: type, name: str, resources: DeploymentConfig, user_config: dict[str, str | None], code: str
) -> Any:
    options: dict[str, Any] = {
        "name": name,
        "ray_actor_options": {"num_cpus": resources.num_cpus, "num_gpus": resources.num_gpus},
        "max_ongoing_requests": resources.max_ongoing_requests,
        "user_config": user_config,
        "graceful_shutdown_wait_loop_s": 0.5,
        "graceful_shutdown_timeout_s": 30,
    }
    if resources.max_replicas and resources.max_replicas > resources.replicas:
        options["autoscaling_config"] = {"min_replicas": resources.replicas, "max_replicas": resources.max_replicas}
    else:
        options["num_replicas"] = resources.replicas
    deployment = serve.deployment(**options)(cls)
    # With an equal code version, a new index version changes user_config only and restarts no replica.
    set_code_version(deployment, code)
    return deployment
