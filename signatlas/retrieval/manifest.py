"""What manifest.json of an index snapshot says, as typed, checked data."""

from __future__ import annotations

from typing import Literal

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
    license: str
    sign_languages: tuple[str, ...]
    synthetic: bool
    sources: tuple[str, ...] | None = None  # None: all
    splits: tuple[str, ...] | None = None


class ShardPart(_Part):
    name: str
    count: int


class FeaturesPart(_Part):
    """The clip features that the entries were encoded from."""

    path: str
    fingerprint: str
    kind: str


class Manifest(_Part):
    """One version of an index: what is in it, what it was made from, and the sha256 of each of its files.

    ``kind`` says what an entry is: a recording of one sign, embedded by a sign encoder; a clip or a text, encoded by a
    dual encoder, then with tokens beside the vectors where its similarity compares tokens.
    """

    format: int = 1
    kind: Literal["signs", "clips", "texts"] = "signs"
    version: str
    created: str  # ISO 8601, UTC
    signatlas: str
    model: ModelPart
    corpus: CorpusPart
    features: FeaturesPart | None = None
    languages: tuple[str, ...] = ()  # of the texts, for entries that are texts
    tokens: int = 0  # of all entries
    factory: str
    metric: str = "inner_product"
    dims: int
    count: int
    shards: tuple[ShardPart, ...]
    confidence: Confidence
    files: dict[str, str]  # path within the version folder -> sha256
