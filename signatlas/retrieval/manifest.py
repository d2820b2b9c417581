"""What manifest.json of an index snapshot says, as typed, checked data."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from signatlas.retrieval.confidence import Confidence


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelPart(_Part):
    name: str  # as it was given to the build
    sha256: str  # of model.safetensors


class CorpusPart(_Part):
    name: str
    path: str
    fingerprint: str
    licence: str
    sign_languages: tuple[str, ...]
    synthetic: bool
    sources: tuple[str, ...] | None = None  # None: all
    splits: tuple[str, ...] | None = None


class ShardPart(_Part):
    name: str
    count: int


class Manifest(_Part):
    """One version of an index: what is in it, what it was made from, and the sha256 of each of its files."""

    format: int = 1
    version: str
    created: str  # ISO 8601, UTC
    signatlas: str
    model: ModelPart
    corpus: CorpusPart
    factory: str
    metric: str = "inner_product"
    dims: int
    count: int
    shards: tuple[ShardPart, ...]
    confidence: Confidence
    files: dict[str, str]  # path within the version folder -> sha256
