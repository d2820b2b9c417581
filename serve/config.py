"""Configuration of a service: index, address, resources, limits."""

from __future__ import annotations

import hashlib
import ipaddress

from pydantic import BaseModel, ConfigDict, Field, model_validator


class DeploymentConfig(BaseModel):
    """Replicas of one deployment and the resources of each. Fractions let all of them run on a laptop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_cpus: float = Field(0.1, ge=0)
    num_gpus: float = Field(0, ge=0)
    replicas: int = Field(1, ge=1)
    max_replicas: int | None = Field(None, ge=1, description="if larger than replicas, Ray Serve scales between them")
    max_ongoing_requests: int = Field(64, ge=1)


class Limits(BaseModel):
    """Limits of one request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    top_k: int = Field(100, ge=1)
    frames: int = Field(1000, ge=1)
    body_bytes: int = Field(16 << 20, ge=1)


class ServeConfig(BaseModel):
    """Configuration of a service. It contains the sha256 of the API key, never the key itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: str = Field(description="index folder: <index>/CURRENT names the live version")
    version: str | None = Field(None, description="serve this version instead of the live one")
    corpus: str | None = Field(None, description="path of the index's corpus, if it has moved")
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    api_key_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    router: DeploymentConfig = DeploymentConfig(num_cpus=0.2, max_ongoing_requests=256)
    encoder: DeploymentConfig = DeploymentConfig(num_cpus=0.2)
    shard: DeploymentConfig = DeploymentConfig(num_cpus=0.1)
    batch_size: int = Field(32, ge=1, description="largest number of requests that the router processes together")
    batch_wait_s: float = Field(0.002, ge=0, description="how long the router waits to fill a batch")
    threads: int = Field(1, ge=1, description="CPU threads of each encoder and each shard")
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _require_key_beyond_loopback(self) -> ServeConfig:
        if not is_loopback(self.host) and self.api_key_sha256 is None:
            raise ValueError(f"host {self.host} is reachable from other machines: set SIGNATLAS_API_KEY first")
        return self


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def key_digest(key: str) -> str:
    """Return the sha256 of an API key, in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()
