"""Configuration of a service (serve.yaml): the gateway, and one application for each index or model."""

from __future__ import annotations

import ipaddress
import logging
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from signatlas.config import LocalPath, Strict
from signatlas.errors import ModelError, UserError

logger = logging.getLogger("ray.serve")
Kind = Literal["index", "translator"]
Device = Literal["auto", "cpu", "gpu"]
NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"


class DeploymentOptions(Strict):
    """Options of one Ray Serve deployment, under Ray Serve's own names; None leaves the option to Ray Serve.

    Fractions of a CPU let a whole service run on a laptop.
    """

    num_replicas: int | None = Field(None, ge=1)
    autoscaling_config: dict[str, Any] | None = None
    ray_actor_options: dict[str, Any] = Field({"num_cpus": 0.1})
    max_ongoing_requests: int = Field(64, ge=1)
    max_queued_requests: int | None = Field(None, ge=-1)
    backpressure_config: dict[str, Any] | None = None
    max_replicas_per_node: int | None = Field(None, ge=1)
    max_surge_percent: int | None = Field(None, ge=0, le=100, description="replicas started before old ones stop")
    health_check_period_s: float = Field(1.0, gt=0)
    health_check_timeout_s: float = Field(3.0, gt=0)
    graceful_shutdown_wait_loop_s: float = Field(0.5, gt=0)
    graceful_shutdown_timeout_s: float = Field(30.0, ge=0)

    @model_validator(mode="after")
    def _one_size(self) -> DeploymentOptions:
        if self.num_replicas is not None and self.autoscaling_config is not None:
            raise ValueError("give either num_replicas or autoscaling_config")
        return self

    def options(self) -> dict[str, Any]:
        """Return the options that are set, as ``serve.deployment`` takes them."""
        return self.model_dump(include=set(DeploymentOptions.model_fields), exclude_none=True)


class ComputeOptions(DeploymentOptions):
    """Options of a deployment that computes with torch or FAISS."""

    device: Device = "auto"  # auto: the GPU if ray_actor_options ask for one
    threads: int = Field(1, ge=1, description="CPU threads of each replica")

    @property
    def use_gpu(self) -> bool:
        """Whether the replicas compute on a GPU."""
        return self.device == "gpu" or (self.device == "auto" and bool(self.ray_actor_options.get("num_gpus")))

    def choose_gpu(self, part: str, available: bool) -> bool:
        """Return whether ``part`` computes on a GPU: where one is wanted and ``available`` to its library.

        With ``device: auto`` it computes on the CPU otherwise, and says so. Raises ModelError with ``device: gpu``.
        """
        if not self.use_gpu or available:
            return self.use_gpu
        if self.device == "gpu":
            raise ModelError(f"{part}: device is gpu, but no GPU can be used here: set device to cpu")
        logger.warning("%s: no GPU can be used here, it computes on the CPU", part)
        return False


HUNG_GRACE_S = 10.0  # a hung replica is given this time before it is killed, and its place is free


class ShardOptions(ComputeOptions):
    """A shard. Its health check searches; a hung replica is replaced after three failed checks."""

    max_replicas_per_node: int | None = Field(None, ge=1, description="1: replicas on different nodes")
    health_check_period_s: float = Field(0.5, gt=0)
    health_check_timeout_s: float = Field(1.5, gt=0)
    graceful_shutdown_timeout_s: float = Field(HUNG_GRACE_S, ge=0)
    max_batch_size: int = Field(32, ge=1, description="largest number of queries that a gateway sends at once")
    hedge_s: float = Field(1.0, gt=0, description="with several replicas: ask a second one after this time")


class ScaledOptions(ComputeOptions):
    """Options of a deployment that scales by the time its queued work takes, unless autoscaling_config has a policy."""

    target_wait_s: float = Field(1.0, gt=0, description="more replicas when queued work takes longer than this")


class EncoderOptions(ScaledOptions):
    """The encoder of queries; recordings and texts of several requests are encoded in one batch."""

    ray_actor_options: dict[str, Any] = Field({"num_cpus": 0.2})
    graceful_shutdown_timeout_s: float = Field(HUNG_GRACE_S, ge=0)
    max_batch_size: int = Field(16, ge=1, description="largest number of queries in a batch")
    batch_wait_timeout_s: float = Field(0.001, ge=0)
    target_wait_s: float = Field(0.2, gt=0)


class TranslatorOptions(ScaledOptions):
    """The translator; clips of similar length are translated in one batch."""

    ray_actor_options: dict[str, Any] = Field({"num_cpus": 0.3})
    max_batch_size: int = Field(8, ge=1, description="largest number of clips in a batch")
    batch_wait_timeout_s: float = Field(0.01, ge=0)
    health_check_timeout_s: float = Field(30.0, gt=0)
    target_wait_s: float = Field(2.0, gt=0)


class WriterOptions(DeploymentOptions):
    """The writer of an index's log of additions and removals. One replica: a second one would not get the lease."""

    num_replicas: Literal[1] = 1
    autoscaling_config: None = None
    ray_actor_options: dict[str, Any] = Field({"num_cpus": 0.05})


class ExtractorOptions(DeploymentOptions):
    """The pose extractor of uploaded videos; each replica reads one at a time, in a child process.

    Without num_replicas there are one or two replicas, by their queued work.
    """

    autoscaling_config: dict[str, Any] | None = Field({"min_replicas": 1, "max_replicas": 2})
    ray_actor_options: dict[str, Any] = Field({"num_cpus": 0.5})
    max_ongoing_requests: int = Field(4, ge=1, description="videos in a replica, those that wait included")
    max_queued_requests: int | None = Field(16, ge=-1, description="beyond those; more are answered with 503")
    health_check_timeout_s: float = Field(30.0, gt=0)
    target_wait_s: float = Field(10.0, gt=0, description="more replicas when queued videos take longer than this")

    @model_validator(mode="before")
    @classmethod
    def _scale(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("num_replicas") is not None:
            return {"autoscaling_config": None, **value}
        return value


class IndexApplication(Strict):
    """Search in one index: an encoder, shards, and an updater that switches them to a new version together.

    ``colocate``: encoder and shards live in each gateway replica instead, for an index that fits into its memory.
    """

    kind: Literal["index"] = "index"
    name: str = Field(pattern=NAME, description="what requests call the index")
    index: LocalPath = Field(description="index folder: <index>/CURRENT names the live version")
    version: str | None = Field(None, description="serve this version, also after another became live")
    corpus: LocalPath | None = Field(None, description="path of the index's corpus, if it has moved")
    colocate: bool = False
    shards: int | None = Field(None, ge=1, description="shard deployments (default: one for each shard of the index)")
    nprobe: int | None = Field(None, ge=1, description="IVF index: lists searched by a request that names no nprobe")
    ef: int | None = Field(None, ge=1, description="HNSW index: entries kept in view where a request names no ef")
    encoder: EncoderOptions = EncoderOptions()
    shard: ShardOptions = ShardOptions()
    updater: DeploymentOptions = DeploymentOptions(ray_actor_options={"num_cpus": 0.05}, max_ongoing_requests=1000)
    writer: WriterOptions | None = Field(None, description="take additions and removals of signs ({} for the defaults)")
    log: LocalPath | None = Field(None, description="path or URI of the log (default: <index>/log)")
    max_log_lag_s: float = Field(5, gt=0, description="a shard that could not read the log for longer answers 503")


class TranslatorApplication(Strict):
    """Translation of signing into text by one model."""

    kind: Literal["translator"] = "translator"
    name: str = Field(pattern=NAME, description="what requests call the model")
    model: LocalPath = Field(description="model folder or Hub name")
    translator: TranslatorOptions = TranslatorOptions()


class Limits(Strict):
    """Limits of one request, and of all requests in one gateway replica together."""

    k: int = Field(1000, ge=1, description="largest offset + k of a search")
    queries: int = Field(32, ge=1, description="queries of one request")
    frames: int = Field(1000, ge=1, description="frames of one clip")
    text_characters: int = Field(2000, ge=1)
    body_bytes: int = Field(16 << 20, ge=1)
    bodies_in_flight: int = Field(512, ge=1, description="requests whose body is being read or answered")
    bytes_in_flight: int = Field(256 << 20, ge=1, description="bytes of all bodies that are being read or parsed")
    body_timeout_s: float = Field(30, gt=0, description="time to send a whole body")
    idle_timeout_s: float = Field(5, gt=0, description="time between two pieces of a body")
    running: int = Field(64, ge=1, description="searches and translations at a time")
    waiting: int = Field(256, ge=0, description="requests that wait for their turn; more are answered with 503")
    deadline_s: float = Field(10, gt=0, description="time to answer a request that names no deadline, and the most")
    translation_deadline_s: float = Field(60, gt=0)
    video_seconds: float = Field(60, gt=0, description="length of an uploaded video; its frames are limited by frames")
    video_pixels: int = Field(2_100_000, ge=1, description="width x height of a video: a little over 1920x1080")
    video_deadline_s: float = Field(100, gt=0, description="of a request with a video that names none, and the most")

    @model_validator(mode="after")
    def _bodies_fit(self) -> Limits:
        if self.body_bytes > 0.875 * self.bytes_in_flight:  # an eighth is kept for small bodies
            raise ValueError("body_bytes must be at most seven eighths of bytes_in_flight")
        return self


class KeyOptions(Strict):
    """Who may call ``/v1``. Without ``keys`` and ``allow_anonymous`` a loopback service makes a key for its run."""

    keys: LocalPath | None = Field(None, description="file of keys at a path or URI: signatlas keys add")
    allow_anonymous: bool = Field(False, description="no keys at all; on a loopback address only")
    run_key_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="of the key of this run only")
    requests_per_s: float = Field(200, gt=0, description="rate of one key in one gateway replica")
    burst: int = Field(400, ge=1)
    concurrent: int = Field(64, ge=1, description="requests of one key at a time in one gateway replica")


class GatewayOptions(DeploymentOptions):
    """The HTTP gateway."""

    ray_actor_options: dict[str, Any] = Field({"num_cpus": 0.2})
    # More than limits.bodies_in_flight: the gateway sheds with a problem document before Ray Serve does.
    max_ongoing_requests: int = Field(2048, ge=1)
    max_queued_requests: int | None = 2048
    limits: Limits = Limits()
    authorization: KeyOptions = KeyOptions()
    cors_origins: tuple[str, ...] = Field((), description="origins of web pages that may call the service")
    request_log: bool = Field(True, description="a line of JSON for each request on stdout, without its content")


class HttpOptions(Strict):
    """Address of the service."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    request_timeout_s: float = Field(120, gt=0, description="backstop of Ray Serve's proxy")
    keep_alive_timeout_s: int = Field(60, ge=1)


class ServeConfig(Strict):
    """A service. Never contains a key: only the place of the file with their hashes."""

    http: HttpOptions = HttpOptions()
    gateway: GatewayOptions = GatewayOptions()
    extractor: ExtractorOptions | None = Field(None, description="extracts poses from uploaded videos; none: no videos")
    applications: tuple[IndexApplication | TranslatorApplication, ...] = Field(min_length=1)
    aliases: dict[Annotated[str, Field(pattern=NAME)], str] = Field({}, description="other names of indexes and models")

    @field_validator("applications", mode="before")
    @classmethod
    def _add_kind(cls, value: Any) -> Any:
        # Without a kind, the key `index` or `model` says which; then errors are those of one kind only.
        if not isinstance(value, list | tuple):
            return value
        return [_parse_application(part) for part in value]

    @model_validator(mode="after")
    def _check(self) -> ServeConfig:
        names = [application.name for application in self.applications]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two applications are called {min(twice)}: give each a name of its own")
        if reserved := {"gateway", "healthz", "extractor"} & set(names):
            raise ValueError(f"an application cannot be called {min(reserved)}")
        for alias, name in self.aliases.items():
            if alias in names or name not in names:
                problem = "that is an application" if alias in names else f"there is no application {name}"
                raise ValueError(f"alias {alias}: {problem}")
        access = self.gateway.authorization
        if access.allow_anonymous and access.keys is not None:
            raise ValueError("give either keys or allow_anonymous")
        if not is_loopback(self.http.host):
            if access.allow_anonymous:
                raise ValueError(f"host {self.http.host} is reachable from other machines: it needs keys")
            if access.keys is None:
                raise ValueError(
                    f"host {self.http.host} is reachable from other machines: make a key with 'signatlas keys add "
                    "NAME --keys FILE' and give the file with --keys"
                )
        return self

    def indexes(self) -> list[IndexApplication]:
        """Return the applications that search."""
        return [a for a in self.applications if isinstance(a, IndexApplication)]

    def translators(self) -> list[TranslatorApplication]:
        """Return the applications that translate."""
        return [a for a in self.applications if isinstance(a, TranslatorApplication)]


def _parse_application(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    kind = part.get("kind") or ("translator" if "model" in part else "index")
    classes: dict[str, type[Strict]] = {"index": IndexApplication, "translator": TranslatorApplication}
    if kind not in classes:
        raise ValueError(f"unknown kind {str(kind)[:40]!r}: choose index or translator")
    return classes[kind].model_validate({**part, "kind": kind})


def parse(config: ServeConfig | dict[str, Any]) -> ServeConfig:
    """Validate a configuration. Raises UserError with its first mistake."""
    if isinstance(config, ServeConfig):
        return config
    try:
        return ServeConfig.model_validate(config)
    except ValidationError as error:
        # An unknown key first: a missing one is often the same key, misspelled.
        errors = error.errors(include_url=False)
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
        field = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"service configuration: {field}: {message}" if field else message) from error


def load(path: str | os.PathLike[str]) -> ServeConfig:
    """Read a serve.yaml. Raises UserError."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{os.fspath(path)} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{os.fspath(path)} is not valid YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise UserError(f"{os.fspath(path)} is not a configuration: it has no keys such as applications")
    return parse(content)


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
