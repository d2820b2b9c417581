"""Request and response schemas of the HTTP API."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from signatlas.errors import PoseError
from signatlas.pose.serialization import from_json
from signatlas.retrieval.search import Hit

COORDINATE = {"anyOf": [{"type": "number"}, {"type": "null"}]}
POSES_SCHEMA = {
    "type": "array",
    "description": "frames of 75 points (33 body, 21 left hand, 21 right hand) of [x, y, z] in image units",
    "items": {
        "type": "array",
        "minItems": 75,
        "maxItems": 75,
        "items": {"type": "array", "minItems": 3, "maxItems": 3, "items": COORDINATE},
    },
}


def _poses(value: Any) -> np.ndarray | None:
    if value is None:
        return None
    try:
        return from_json(value)
    except PoseError as error:
        raise ValueError(str(error).removeprefix("poses: ")) from error


def _vector(value: list[float]) -> list[float]:
    length = math.hypot(*value)
    if not math.isfinite(length) or length < 1e-6:
        raise ValueError("the vector must have a finite length above zero")
    return [x / length for x in value]


Poses = Annotated[Any, BeforeValidator(_poses), WithJsonSchema(POSES_SCHEMA)]


class SearchOptions(BaseModel):
    """Options of every search."""

    model_config = ConfigDict(extra="forbid")

    top_k: int = Field(10, ge=1, description="number of results")
    mirror: Literal["none", "best"] = Field(
        "best",
        description="best: also search the mirrored query and keep the better score (left-handed signing)",
    )


class SearchRequest(SearchOptions):
    """A query: exactly one of ``poses``, ``clip`` and ``vector``."""

    poses: Poses = None
    width: int | None = Field(None, ge=1, description="width in pixels of the frames of the poses; give height too")
    height: int | None = Field(None, ge=1)
    source: str | None = Field(None, description="a source of the index's corpus, if width and height are unknown")
    clip: str | None = Field(None, description="id of a clip of the index's corpus; it is left out of the hits")
    vector: list[float] | None = Field(None, description="an embedding by the index's own model")

    @model_validator(mode="after")
    def _one_query(self) -> SearchRequest:
        if sum(x is not None for x in (self.poses, self.clip, self.vector)) != 1:
            raise ValueError("send exactly one of poses, clip and vector")
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height go together")
        if self.vector is not None and "mirror" in self.model_fields_set and self.mirror != "none":
            raise ValueError("a vector cannot be mirrored; send poses")
        if self.vector is not None:
            self.vector, self.mirror = _vector(self.vector), "none"
        return self


class SearchAnswer(BaseModel):
    """Hits of a search; ``verdict`` is the confidence of the best: probable, possible, unlikely or not found."""

    index_version: str
    synthetic: bool
    verdict: str | None
    hits: list[Hit]


class PosesAnswer(BaseModel):
    """The poses of one recording."""

    id: str
    fps: float | None
    width: int | None
    height: int | None
    poses: Annotated[Any, WithJsonSchema(POSES_SCHEMA)]


class Info(BaseModel):
    """Version, model, corpus, counts, thresholds and limits of the service."""

    signatlas: str
    index_version: str
    created: str
    corpus: str
    license: str
    sign_languages: tuple[str, ...]
    sources: tuple[str, ...] | None
    synthetic: bool
    count: int
    shards: int
    dims: int
    factory: str
    model: str
    model_sha256: str
    confidence: dict[str, Any]
    limits: dict[str, int]
