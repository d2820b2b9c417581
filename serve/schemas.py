"""Request and response schemas of the HTTP API, under ``/v1``."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from signatlas.errors import PoseError
from signatlas.pose.serialization import from_json
from signatlas.retrieval.filters import Filter
from signatlas.retrieval.operation_log.record import AddedSign
from signatlas.retrieval.search import Hit

COORDINATE = {"anyOf": [{"type": "number"}, {"type": "null"}]}
POSES_SCHEMA = {
    "type": "array",
    "minItems": 1,
    "description": "frames of 75 points (33 body, 21 left hand, 21 right hand) of [x, y, z] in image units",
    "items": {
        "type": "array",
        "minItems": 75,
        "maxItems": 75,
        "items": {"type": "array", "minItems": 3, "maxItems": 3, "items": COORDINATE},
    },
}
MAX_FRAMES = 20_000  # of any clip, before the limit of the service is looked at
MAX_PIXELS = 100_000  # of a side of a picture; a larger number is a mistake
MAX_ID = 1024
MAX_EFFORT = 65_536


def _poses(value: Any) -> np.ndarray:
    if isinstance(value, list) and len(value) > MAX_FRAMES:
        raise ValueError(f"{len(value):,} frames are more than any clip has")
    try:
        # Whether they show a signer is a question about one query, not about the request.
        return from_json(value, shape_only=True)
    except PoseError as error:
        raise ValueError(str(error).removeprefix("poses: ")) from error


def _unit(value: list[float]) -> list[float]:
    length = math.hypot(*value)
    if not math.isfinite(length) or length < 1e-6:
        raise ValueError("the vector must have a finite length above zero")
    return [x / length for x in value]


def _encodable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("the text contains half of a surrogate pair, which is no character") from None
    return value


OneOrSeveral = BeforeValidator(lambda value: [value] if isinstance(value, dict) else value)
Poses = Annotated[Any, BeforeValidator(_poses), WithJsonSchema(POSES_SCHEMA)]
Id = Annotated[str, BeforeValidator(lambda v: _encodable(v) if isinstance(v, str) else v), Field(max_length=MAX_ID)]


class Request(BaseModel):
    """A part of a request; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class TextQuery(Request):
    """A sentence."""

    text: Annotated[str, Field(min_length=1), BeforeValidator(lambda v: _encodable(v) if isinstance(v, str) else v)]
    language: str | None = Field(None, max_length=35, description="BCP 47: de, en, zh")


class PosesQuery(Request):
    """A performed sign or sentence."""

    poses: Poses
    width: int | None = Field(None, ge=1, le=MAX_PIXELS, description="width of the picture in pixels; give height too")
    height: int | None = Field(None, ge=1, le=MAX_PIXELS)
    fps: float | None = Field(None, gt=0, le=1000, description="frames per second, for translation")
    source: str | None = Field(None, max_length=MAX_ID, description="a source of the corpus, if the size is unknown")
    language: str | None = Field(None, max_length=35, description="only texts of this language (index of texts)")

    @model_validator(mode="after")
    def _size(self) -> PosesQuery:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height go together")
        return self

    @property
    def aspect(self) -> float | None:
        """width/height, None where unknown."""
        return self.width / self.height if self.width and self.height else None


class ClipQuery(Request):
    """A clip of the index's corpus. It is left out of the hits of an index of signs."""

    clip: Id
    language: str | None = Field(None, max_length=35, description="only texts of this language (index of texts)")


class VectorQuery(Request):
    """An embedding by the index's own model."""

    vector: Annotated[list[float], Field(min_length=1, max_length=65536), FailFast()]

    @model_validator(mode="after")
    def _normalize(self) -> VectorQuery:
        self.vector = _unit(self.vector)
        return self


def _kind(value: Any) -> str | None:
    """Return which query ``value`` is; None unless exactly one of the four keys is there."""
    keys = {"text", "poses", "clip", "vector"}
    if isinstance(value, dict):
        present = keys & {k for k, v in value.items() if v is not None}
    else:
        present = {k for k in keys if getattr(value, k, None) is not None}
    return present.pop() if len(present) == 1 else None


_ONE = {
    "custom_error_type": "query",
    "custom_error_message": "send exactly one of text, poses, clip and vector",
}
SearchQuery = Annotated[
    Annotated[TextQuery, Tag("text")]
    | Annotated[PosesQuery, Tag("poses")]
    | Annotated[ClipQuery, Tag("clip")]
    | Annotated[VectorQuery, Tag("vector")],
    Discriminator(_kind, **_ONE),
]
SigningQuery = Annotated[
    Annotated[PosesQuery, Tag("poses")] | Annotated[ClipQuery, Tag("clip")],
    Discriminator(_kind, custom_error_type="query", custom_error_message="send exactly one of poses and clip"),
]


class SearchOptions(Request):
    """Options of a search."""

    index: str | None = Field(None, max_length=63, description="name of the index, where the service has several")
    k: int = Field(10, ge=1, description="number of hits")
    offset: int = Field(0, ge=0, description="skip this many hits")
    min_score: float | None = Field(None, allow_inf_nan=False, description="only hits with at least this score")
    group_by: Literal["gloss"] | None = Field(None, description="gloss: the best recording of each gloss")
    mirror: Literal["none", "best"] = Field(
        "best", description="best: also search the mirrored signing and keep the better score (left-handed signing)"
    )
    rerank: bool = Field(True, description="sentences: score the candidates token by token")
    candidates: int = Field(200, ge=1, le=10_000, description="sentences: entries of each shard that are scored so")
    filter: Filter | None = Field(None, description="conditions on the entries; in a form, JSON text")
    nprobe: int | None = Field(None, ge=1, le=MAX_EFFORT, description="IVF index: lists that are searched")
    ef: int | None = Field(None, ge=1, le=MAX_EFFORT, description="HNSW index: entries that are kept in view")
    require_all: bool = Field(False, description="503 instead of a partial answer when a shard is missing")
    position: int | None = Field(
        None, ge=1, description="see the additions and removals up to this one: from the answer to a change"
    )
    deadline_s: float | None = Field(None, gt=0, allow_inf_nan=False, description="time to answer, in seconds")


class SearchRequest(SearchOptions):
    """One or several queries with the same options."""

    queries: Annotated[list[SearchQuery], FailFast(), OneOrSeveral] = Field(min_length=1)


class InvalidField(BaseModel):
    """A field of a request that is wrong, as a path of names and positions, and what is wrong with it."""

    field: str
    message: str


class ProblemDocument(BaseModel):
    """An error (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[InvalidField] | None = Field(None, description="the first fields that are wrong")


class QueryResult(BaseModel):
    """Hits of one query; ``verdict`` is the confidence of the best: probable, possible, unlikely or not found."""

    hits: list[Hit]
    verdict: str | None = None
    tokens: int | None = Field(None, description="sentences: number of tokens of the query")
    scored: int | None = Field(None, description="sentences: pairs that were scored token by token")
    notes: list[str] = []


class QueryProblem(BaseModel):
    """The error of one query."""

    problem: ProblemDocument


class ShardState(BaseModel):
    """Shards that answered; ``missing`` are the names of those that did not."""

    answered: int
    of: int
    missing: list[str]


class SearchAnswer(BaseModel):
    """One result for each query. A partial answer lacks the entries of the missing shards."""

    results: list[QueryResult | QueryProblem]
    index: str
    kind: Literal["signs", "clips", "texts"]
    version: str
    synthetic: bool
    entries: int = Field(description="number of entries of the index")
    partial: bool
    shards: ShardState
    position: int = Field(0, description="the answer has all additions and removals up to this one")


class AddRequest(AddedSign):
    """A recording of a sign to add to an index, and who agreed to that: nothing is stored without ``consent``."""

    index: str | None = Field(None, max_length=63, description="name of the index, where the service has several")
    id: Id | None = Field(None, description="id of the new entry (default: added/ and a random number)")
    poses: Poses
    deadline_s: float | None = Field(None, gt=0, allow_inf_nan=False, description="time to answer, in seconds")


class ChangeAnswer(BaseModel):
    """A change that is stored: searches that send ``position`` see it at once, all others within a second."""

    id: str
    index: str
    position: int
    repeated: bool = Field(description="an earlier request with the same Idempotency-Key made this change")


class TranslateOptions(Request):
    """Options of a translation."""

    model: str | None = Field(None, max_length=63, description="name of the model, where the service has several")
    num_beams: int = Field(8, ge=1, le=32)
    n_best: int = Field(1, ge=1, le=32, description="number of alternative texts, the best first")
    max_new_tokens: int = Field(60, ge=1, le=256)
    length_penalty: float = Field(1.0, ge=-10, le=10, allow_inf_nan=False)
    stream: bool = Field(False, description="answer with server-sent events; with one beam, tokens as they are made")
    deadline_s: float | None = Field(None, gt=0, allow_inf_nan=False, description="time to answer, in seconds")

    @model_validator(mode="after")
    def _beams(self) -> TranslateOptions:
        if self.n_best > self.num_beams:
            raise PydanticCustomError("n_best", "n_best is more than num_beams: raise num_beams")
        return self


class Progress(BaseModel):
    """Data of the event ``progress``: what the service does, and how many frames of a video it has read."""

    stage: Literal["extract", "search", "translate"]
    frames: int | None = None
    of: int | None = Field(None, description="frames that the video announces, null where it does not")


class Token(BaseModel):
    """Data of the event ``token``: the next piece of a translation's text."""

    text: str


class TranslateRequest(TranslateOptions):
    """Signing to translate, one or several."""

    queries: Annotated[list[SigningQuery], FailFast(), OneOrSeveral] = Field(min_length=1)


class Translation(BaseModel):
    """The best texts of one query."""

    texts: list[str]
    notes: list[str] = []


class TranslateAnswer(BaseModel):
    """One result for each query. Machine translations can be fluent and wrong."""

    results: list[Translation | QueryProblem]
    model: str
    language: str
    weights: str = Field(description="sha256 of the model's weights")


class EmbedRequest(Request):
    """Queries to encode with the model of an index."""

    index: str | None = Field(None, max_length=63)
    queries: Annotated[list[SearchQuery], FailFast(), OneOrSeveral] = Field(min_length=1)
    tokens: bool = Field(False, description="also return the tokens, where the model has them")
    deadline_s: float | None = Field(None, gt=0, allow_inf_nan=False)


class Embedding(BaseModel):
    """A unit vector, and unit tokens [tokens, width] where asked for."""

    vector: list[float]
    tokens: list[list[float]] | None = None


class EmbedAnswer(BaseModel):
    """One result for each query."""

    results: list[Embedding | QueryProblem]
    index: str
    version: str


class PosesAnswer(BaseModel):
    """The poses of one recording."""

    id: str
    fps: float | None
    width: int | None
    height: int | None
    poses: Annotated[Any, WithJsonSchema(POSES_SCHEMA)]


class IndexInfo(BaseModel):
    """Version, model, corpus, counts and thresholds of one index."""

    name: str
    aliases: tuple[str, ...] = Field((), description="other names")
    kind: Literal["signs", "clips", "texts"]
    version: str
    created: str
    corpus: str
    license: str
    sign_languages: tuple[str, ...]
    languages: tuple[str, ...]
    sources: tuple[str, ...] | None
    synthetic: bool
    count: int
    shards: int
    dims: int
    factory: str
    model: str
    model_sha256: str
    confidence: dict[str, Any]
    additions: bool = Field(False, description="whether signs can be added and removed")
    position: int = Field(0, description="number of additions and removals so far")
    nprobe: int | None = Field(None, description="IVF index: lists that a search looks at unless it says otherwise")
    ef: int | None = Field(None, description="HNSW index: entries that a search keeps in view unless it says otherwise")
    filters: dict[str, list[str | int]] = Field({}, description="values of the entries, for filters with few of them")


class ModelInfo(BaseModel):
    """A model that translates."""

    name: str
    task: Literal["translate"] = "translate"
    language: str
    input: str = Field(description="what it takes: poses, features or images")
    parameters: int
    weights: str = Field(description="sha256 of the weights")
    training_corpus: str | None


class Indexes(BaseModel):
    """The indexes of the service, and its limits."""

    signatlas: str
    indexes: list[IndexInfo]
    limits: dict[str, float]


class Models(BaseModel):
    """The models of the service."""

    signatlas: str
    models: list[ModelInfo]


class Health(BaseModel):
    """The service runs."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Every part answers; ``versions`` are the live versions by index."""

    status: Literal["ready"] = "ready"
    versions: dict[str, str]
