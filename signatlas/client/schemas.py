"""Answers of a service. Unknown fields are ignored and words are plain strings, so that a newer service is understood.

They are independent of the service's own schemas: a client is installed and updated apart from it.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict

from signatlas.client.errors import ServiceError
from signatlas.pose.skeleton import NUM_POINTS

R = TypeVar("R", bound=BaseModel)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True, protected_namespaces=())


def _array(value: Any, dims: int) -> np.ndarray:
    """Return nested lists as float32 with NaN for null. Raises ValueError for lists that are no array of ``dims``."""
    try:
        array = np.array(value, np.float64).astype(np.float32)
    except (TypeError, OverflowError) as error:
        raise ValueError("expected nested lists of numbers") from error
    if array.ndim != dims:
        raise ValueError(f"expected an array of {dims} dimensions, not {array.ndim}")
    return array


def _poses(value: Any) -> np.ndarray:
    poses = _array(value, 3)
    if poses.shape[1:] != (NUM_POINTS, 3):
        raise ValueError(f"expected [frames, {NUM_POINTS}, 3], not {list(poses.shape)}")
    return poses


Vector = Annotated[np.ndarray, BeforeValidator(lambda value: _array(value, 1))]
Matrix = Annotated[np.ndarray, BeforeValidator(lambda value: value if value is None else _array(value, 2))]
Poses = Annotated[np.ndarray, BeforeValidator(_poses)]


class ProblemDocument(_Answer):
    """An error (RFC 9457); ``errors`` name the fields that are wrong."""

    title: str = ""
    status: int
    detail: str = ""
    errors: list[dict[str, Any]] | None = None


class QueryProblem(_Answer):
    """The error of one query among several."""

    problem: ProblemDocument


class _Results(_Answer, Generic[R]):
    results: list[R | QueryProblem]

    @property
    def result(self) -> R:
        """The result of the only query. Raises ServiceError if that failed, ValueError unless there is just one."""
        if len(self.results) != 1:
            raise ValueError(f"the answer has {len(self.results)} results: read them from .results")
        result = self.results[0]
        if isinstance(result, QueryProblem):
            problem = result.problem
            raise ServiceError(problem.detail or problem.title, status=problem.status, errors=problem.errors or ())
        return result


class Text(_Answer):
    """A text and its language (BCP 47)."""

    language: str
    text: str


class Sign(_Answer):
    """An indexed recording."""

    id: str
    gloss: str | None = None
    texts: list[Text] = []
    sign_language: str
    source: str
    split: str
    signer_kind: str
    num_frames: int
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    corpus: str | None = None
    signer: str | None = None
    hands: int | None = None
    movement: str | None = None
    location: str | None = None


class Hit(_Answer):
    """A search result: a recording, its rank from 1, its score, and the confidence in it in a word."""

    rank: int
    id: str
    gloss: str | None = None
    texts: list[Text] = []
    score: float
    confidence: str | None = None
    sign_language: str
    source: str
    num_frames: int
    signer: str | None = None
    hands: int | None = None
    movement: str | None = None
    location: str | None = None


class QueryResult(_Answer):
    """Hits of one query; ``verdict`` is the confidence in the best: probable, possible, unlikely or not found.

    ``tokens`` of the query and ``scored`` pairs are given where sentences were scored token by token.
    """

    hits: list[Hit]
    verdict: str | None = None
    tokens: int | None = None
    scored: int | None = None
    notes: list[str] = []


class ShardState(_Answer):
    """How many shards answered; ``missing`` are the names of those that did not."""

    answered: int
    of: int
    missing: list[str] = []


class SearchAnswer(_Results[QueryResult]):
    """One result for each query, from one version of an index; a partial answer lacks entries of missing shards."""

    index: str
    kind: str
    version: str
    synthetic: bool
    partial: bool
    shards: ShardState
    entries: int | None = None
    position: int = 0  # the answer has all changes up to this one

    @property
    def hits(self) -> list[Hit]:
        """The hits of the only query."""
        return self.result.hits


class Translation(_Answer):
    """Texts of one query, the best first."""

    texts: list[str]
    notes: list[str] = []


class TranslateAnswer(_Results[Translation]):
    """One result for each query; ``weights`` is the sha256 of the model's weights.

    Machine translations can be fluent and wrong.
    """

    model: str
    language: str
    weights: str


class Progress(_Answer):
    """What a service does (``stage``: extract, search or translate); ``frames`` ``of`` a video that it has read."""

    stage: str
    frames: int | None = None
    of: int | None = None

    def __str__(self) -> str:
        if self.stage == "extract" and self.frames:
            return f"detecting poses: {self.frames} of {self.of or '?'} frames"
        return {"extract": "detecting poses", "search": "searching", "translate": "translating"}.get(self.stage, "")


class Token(_Answer):
    """The next piece of a translation's text; all pieces joined are its text."""

    text: str


class Embedding(_Answer):
    """A unit vector float32 [E], and unit tokens float32 [tokens, E] where asked for."""

    vector: Vector
    tokens: Matrix | None = None


class EmbedAnswer(_Results[Embedding]):
    """One result for each query."""

    index: str
    version: str


class PosesAnswer(_Answer):
    """Poses float32 [frames, 75, 3] of one recording in image units, NaN where missing."""

    id: str
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    poses: Poses


class IndexInfo(_Answer):
    """Version, model, corpus, counts and confidence thresholds of one index; ``kind`` is signs, clips or texts."""

    name: str
    aliases: list[str] = []
    kind: str
    version: str
    created: str
    corpus: str
    license: str
    sign_languages: list[str]
    languages: list[str]
    sources: list[str] | None = None
    synthetic: bool
    count: int
    shards: int
    dims: int
    factory: str
    model: str
    model_sha256: str
    confidence: dict[str, Any] = {}
    nprobe: int | None = None
    ef: int | None = None
    filters: dict[str, list[str | int]] = {}
    additions: bool = False  # whether signs can be added and removed
    position: int = 0  # number of changes so far


class ChangeAnswer(_Answer):
    """A change that is stored; searches with ``position`` see it at once."""

    id: str
    index: str
    position: int
    repeated: bool = False


class Indexes(_Answer):
    """The indexes of a service, its limits, and the version of signatlas that it runs."""

    signatlas: str
    indexes: list[IndexInfo]
    limits: dict[str, Any] = {}


class ModelInfo(_Answer):
    """A model that translates ``input`` (poses, features or images) into ``language``; ``weights`` is a sha256."""

    name: str
    task: str = "translate"
    language: str
    input: str
    parameters: int
    weights: str
    training_corpus: str | None = None


class Models(_Answer):
    """The models of a service, and the version of signatlas that it runs."""

    signatlas: str
    models: list[ModelInfo]
