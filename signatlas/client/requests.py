"""Queries, options and request bodies of a service's endpoints, without sending them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote
from uuid import uuid4

import numpy as np
from pydantic import BaseModel

from signatlas.client import schemas
from signatlas.errors import MediaError, PoseError, UserError
from signatlas.pose.normalize import check
from signatlas.pose.serialization import to_json

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class TextQuery:
    """A sentence; ``language`` is a BCP 47 code such as de."""

    text: str
    language: str | None = None


@dataclass(frozen=True, eq=False)
class PosesQuery:
    """Poses [frames, 75, 3] in image units, NaN where missing.

    ``width`` and ``height`` of the picture in pixels go together; ``source`` names a part of the index's corpus that
    was recorded alike, where they are unknown. ``language`` keeps only texts of that language (index of texts).
    ``fps`` is the frame rate, which translators use.
    """

    poses: np.ndarray
    width: int | None = None
    height: int | None = None
    source: str | None = None
    language: str | None = None
    fps: float | None = None


@dataclass(frozen=True)
class ClipQuery:
    """A clip of the index's corpus by its id; ``language`` as in :class:`PosesQuery`."""

    clip: str
    language: str | None = None


@dataclass(frozen=True, eq=False)
class VectorQuery:
    """An embedding [E] by the index's own model."""

    vector: np.ndarray | Sequence[float]


Query = TextQuery | PosesQuery | ClipQuery | VectorQuery
SigningQuery = PosesQuery | ClipQuery


class SearchOptions(TypedDict, total=False):
    """Options of a search; the service's defaults hold for those that are not given."""

    index: str | None  # name, where the service has several
    k: int
    offset: int
    min_score: float | None
    group_by: Literal["gloss"] | None
    mirror: Literal["none", "best"]  # best: search the mirrored signing, too (left-handed signing)
    rerank: bool  # sentences: score the candidates token by token
    candidates: int  # sentences: entries of each shard that are scored so
    filter: Mapping[str, str | int | Sequence[str | int]] | None  # conditions on the entries: {"gloss": ["a", "b"]}
    nprobe: int | None  # IVF index: lists that are searched
    ef: int | None  # HNSW index: entries that are kept in view
    require_all: bool  # an error instead of a partial answer
    position: int | None  # see the changes up to this one: from the answer to a change
    deadline_s: float | None  # seconds until there is an answer or an error, retries included


class TranslateOptions(TypedDict, total=False):
    """Options of a translation; the service's defaults hold for those that are not given."""

    model: str | None  # name, where the service has several
    num_beams: int
    n_best: int
    max_new_tokens: int
    length_penalty: float
    deadline_s: float | None


class EmbedOptions(TypedDict, total=False):
    """Options of an embedding."""

    index: str | None
    tokens: bool
    deadline_s: float | None


class AddOptions(TypedDict, total=False):
    """Labels of a sign to add; see the documentation of the service."""

    index: str | None
    id: str | None
    gloss: str | None
    texts: list[dict[str, str]]  # {"language": "de", "text": "Baum"}
    sign_language: str
    signer: str | None
    source: str
    fps: float | None
    width: int | None
    height: int | None
    consent: dict[str, str]  # {"given_by": "anna", "use": "search"}
    deadline_s: float | None


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request: ``body`` is sent as JSON, or as the fields of a form that contains ``file`` (name, content).

    ``events``: ask for server-sent events.
    """

    path: str
    answer: type[T] | None = None  # None: only the status matters
    body: Mapping[str, Any] | None = None
    file: tuple[str, bytes] | None = None
    deadline_s: float | None = None
    events: bool = False
    delete: bool = False
    idempotency_key: str | None = None
    kept_statuses: frozenset[int] = field(default=frozenset())  # returned to the caller: no error, no retry

    @property
    def method(self) -> str:
        """The HTTP method."""
        return "DELETE" if self.delete else "GET" if self.body is None else "POST"

    def json(self, deadline_s: float | None) -> bytes:
        """Return the JSON body. Raises UserError for values that JSON cannot hold."""
        return _dumps(self._with_deadline(deadline_s))

    def fields(self, deadline_s: float | None) -> dict[str, str]:
        """Return the text fields of the form."""
        body = {name: value for name, value in self._with_deadline(deadline_s).items() if value is not None}
        return {name: value if isinstance(value, str) else _dumps(value).decode() for name, value in body.items()}

    def _with_deadline(self, deadline_s: float | None) -> dict[str, Any]:
        return {**(self.body or {}), **({} if deadline_s is None else {"deadline_s": deadline_s})}


def search(queries: Query | Sequence[Query], options: Mapping[str, Any]) -> Call[schemas.SearchAnswer]:
    """Return the call of ``POST /v1/search``."""
    return _post("/v1/search", schemas.SearchAnswer, queries, options, SearchOptions)


def search_pose_file(path: str | Path, options: Mapping[str, Any]) -> Call[schemas.SearchAnswer]:
    """Return the call of ``POST /v1/search/video`` with the content of a .pose file. Raises PoseError."""
    return _upload("/v1/search/video", schemas.SearchAnswer, path, options, SearchOptions)


def search_video(path: str | Path, options: Mapping[str, Any], events: bool) -> Call[schemas.SearchAnswer]:
    """Return the call of ``POST /v1/search/video`` with the content of a video. Raises MediaError."""
    return _upload("/v1/search/video", schemas.SearchAnswer, path, options, SearchOptions, video=True, events=events)


def translate(
    queries: SigningQuery | Sequence[SigningQuery], options: Mapping[str, Any]
) -> Call[schemas.TranslateAnswer]:
    """Return the call of ``POST /v1/translate``."""
    return _post("/v1/translate", schemas.TranslateAnswer, queries, options, TranslateOptions)


def translate_pose_file(path: str | Path, options: Mapping[str, Any]) -> Call[schemas.TranslateAnswer]:
    """Return the call of ``POST /v1/translate/video`` with the content of a .pose file. Raises PoseError."""
    return _upload("/v1/translate/video", schemas.TranslateAnswer, path, options, TranslateOptions)


def translate_video(path: str | Path, options: Mapping[str, Any], events: bool) -> Call[schemas.TranslateAnswer]:
    """Return the call of ``POST /v1/translate/video`` with the content of a video. Raises MediaError."""
    answer = schemas.TranslateAnswer
    return _upload("/v1/translate/video", answer, path, options, TranslateOptions, video=True, events=events)


def stream_translation(signing: SigningQuery | str | Path, options: Mapping[str, Any]) -> Call[schemas.TranslateAnswer]:
    """Return the call of ``POST /v1/translate`` or, for a file, ``/v1/translate/video``, answered with events.

    Raises PoseError, MediaError.
    """
    # Beams have no tokens to send before they end.
    options = {"num_beams": 1, **options}
    if isinstance(signing, str | Path):
        if Path(signing).suffix.lower() == ".pose":
            return replace(translate_pose_file(signing, options), events=True)
        return translate_video(signing, options, True)
    return replace(translate(signing, options), events=True)


def embed(queries: Query | Sequence[Query], options: Mapping[str, Any]) -> Call[schemas.EmbedAnswer]:
    """Return the call of ``POST /v1/embed``."""
    return _post("/v1/embed", schemas.EmbedAnswer, queries, options, EmbedOptions)


def indexes() -> Call[schemas.Indexes]:
    """Return the call of ``GET /v1/indexes``."""
    return Call("/v1/indexes", schemas.Indexes)


def models() -> Call[schemas.Models]:
    """Return the call of ``GET /v1/models``."""
    return Call("/v1/models", schemas.Models)


def sign(id: str, index: str | None) -> Call[schemas.Sign]:
    """Return the call of ``GET /v1/signs/{id}``."""
    return Call(_sign_path(id, "", index), schemas.Sign)


def poses(id: str, index: str | None) -> Call[schemas.PosesAnswer]:
    """Return the call of ``GET /v1/signs/{id}/poses``."""
    return Call(_sign_path(id, "/poses", index), schemas.PosesAnswer)


def add_sign(sign: Mapping[str, Any], poses: np.ndarray, key: str | None) -> Call[schemas.ChangeAnswer]:
    """Return the call of ``POST /v1/signs``. Raises PoseError and UserError."""
    body, deadline_s = _options(sign, AddOptions)
    body["poses"] = to_json(check(poses))
    return Call("/v1/signs", schemas.ChangeAnswer, body, deadline_s=deadline_s, idempotency_key=key or uuid4().hex)


def remove_sign(id: str, index: str | None, key: str | None) -> Call[schemas.ChangeAnswer]:
    """Return the call of ``DELETE /v1/signs/{id}``."""
    path = _sign_path(id, "", index)
    return Call(path, schemas.ChangeAnswer, delete=True, idempotency_key=key or uuid4().hex)


def ready() -> Call[Any]:
    """Return the call of ``GET /readyz``: 503 is an answer."""
    return Call("/readyz", kept_statuses=frozenset({503}))


def _post(path: str, answer: type[T], queries: Any, options: Mapping[str, Any], allowed: type[Any]) -> Call[T]:
    listed = list(queries) if isinstance(queries, Sequence) else [queries]
    if not listed:
        raise UserError("a request needs at least one query")
    body, deadline_s = _options(options, allowed)
    return Call(path, answer, {"queries": [_query(query) for query in listed], **body}, deadline_s=deadline_s)


def _upload(
    path: str,
    answer: type[T],
    file: str | Path,
    options: Mapping[str, Any],
    allowed: type[Any],
    *,
    video: bool = False,
    events: bool = False,
) -> Call[T]:
    file = Path(file)
    if not video and file.suffix.lower() != ".pose":
        raise PoseError(f"{file} is not a .pose file: extract its poses, or send it as a video")
    body, deadline_s = _options(options, allowed)
    try:
        upload = (file.name, file.read_bytes())
    except OSError as error:
        raise (MediaError if video else PoseError)(f"{file} cannot be read: {error.strerror}") from error
    return Call(path, answer, body, upload, deadline_s, events)


def _options(options: Mapping[str, Any], allowed: type[Any]) -> tuple[dict[str, Any], float | None]:
    """Return the options of the body, and the deadline. Raises TypeError for an unknown name."""
    if unknown := sorted(set(options) - set(allowed.__annotations__)):
        raise TypeError(f"unexpected option '{unknown[0]}'; there are {', '.join(allowed.__annotations__)}")
    body = {name: value for name, value in options.items() if value is not None}
    deadline_s = body.pop("deadline_s", None)
    if deadline_s is not None and not 0 < deadline_s < float("inf"):
        raise UserError(f"deadline_s is {deadline_s}: give a number of seconds above zero")
    return body, deadline_s


def _query(query: Query) -> dict[str, Any]:
    """Return a query as JSON values. Raises PoseError and UserError."""
    if isinstance(query, VectorQuery):
        vector = np.asarray(query.vector, np.float64)
        if vector.ndim != 1 or not np.isfinite(vector).all():
            raise UserError(f"a vector must be one row of finite numbers, not of shape {list(vector.shape)}")
        return {"vector": vector.tolist()}
    if not isinstance(query, TextQuery | PosesQuery | ClipQuery):
        raise TypeError(f"expected a TextQuery, PosesQuery, ClipQuery or VectorQuery, not {type(query).__name__}")
    values = {name: value for name, value in vars(query).items() if value is not None}
    if isinstance(query, PosesQuery):
        if (query.width is None) != (query.height is None):
            raise UserError("width and height go together: give both or none")
        values["poses"] = to_json(check(query.poses))
    return values


def _sign_path(id: str, ending: str, index: str | None) -> str:
    try:
        id.encode()
    except UnicodeEncodeError:
        raise UserError("the id contains half of a surrogate pair, which is no character") from None
    # Segments of dots alone would be resolved like folders on the way.
    parts = (part.replace(".", "%2E") if set(part) <= {"."} else quote(part, safe="") for part in id.split("/"))
    return f"/v1/signs/{'/'.join(parts)}{ending}" + (f"?index={quote(index, safe='')}" if index is not None else "")


def _dumps(value: Any) -> bytes:
    try:
        return json.dumps(value, allow_nan=False, default=_number).encode()
    except ValueError as error:
        raise UserError(f"the request contains a number that is not finite: {error}") from error


def _number(value: Any) -> Any:
    """Return the Python number of a numpy scalar."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not a JSON value")
