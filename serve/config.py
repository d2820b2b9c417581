"""What a service runs with: index, address, resources, limits."""

from __future__ import annotations

import hashlib
import ipaddress

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Scale(BaseModel):
    """Replicas of one deployment, and what each asks of the cluster. Fractions let a laptop hold them all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_cpus: float = Field(0.1, ge=0)
    num_gpus: float = Field(0, ge=0)
    replicas: int = Field(1, ge=1)
    max_replicas: int | None = Field(None, ge=1, description="more than replicas: Ray Serve scales between the two")
    max_ongoing_requests: int = Field(64, ge=1)


class Limits(BaseModel):
    """What one request may ask for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    top_k: int = Field(100, ge=1)
    frames: int = Field(1000, ge=1)
    body_bytes: int = Field(16 << 20, ge=1)


class ServeConfig(BaseModel):
    """Everything ``serve.builder.build`` needs. The API key itself is never kept, only its sha256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: str = Field(description="index folder: <index>/CURRENT names the live version")
    version: str | None = Field(None, description="serve this version instead of the live one")
    corpus: str | None = Field(None, description="where the index's corpus lies, if not where it was built from")
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    api_key_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    router: Scale = Scale(num_cpus=0.2, max_ongoing_requests=256)
    encoder: Scale = Scale(num_cpus=0.2)
    shard: Scale = Scale(num_cpus=0.1)
    batch_size: int = Field(32, ge=1, description="requests that the router answers together")
    batch_wait_s: float = Field(0.002, ge=0, description="how long the router waits for more of them")
    threads: int = Field(1, ge=1, description="CPU threads of each encoder and each shard")
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _guarded(self) -> ServeConfig:
        if not is_loopback(self.host) and self.api_key_sha256 is None:
            raise ValueError(f"host {self.host} can be reached from other machines: set SIGNATLAS_API_KEY first")
        return self


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def key_digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
