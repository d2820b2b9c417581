"""One numbered operation on an index, as the bytes of a record: header, poses and vector under one checksum."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, ValidationError, model_validator

from signatlas.config import Strict
from signatlas.errors import LogError
from signatlas.pose.skeleton import NUM_POINTS

MAGIC = b"signatlas operation 1\n"
MAX_ID = 1024  # characters
ADDED = "added"  # corpus and split of added signs


class Consent(Strict):
    """Who agreed to what: nothing is stored without it."""

    given_by: str = Field(min_length=1, max_length=200, description="the signer, or who may decide for them")
    use: str = Field(min_length=1, max_length=500, description="what the recording may be used for")


class LanguageText(Strict):
    """A text in a spoken language (BCP 47)."""

    language: str = Field(min_length=1, max_length=35)
    text: str = Field(min_length=1, max_length=2000)


class AddedSign(Strict):
    """The labels of an added sign."""

    gloss: str | None = Field(None, min_length=1, max_length=200)
    texts: tuple[LanguageText, ...] = Field((), max_length=32)
    sign_language: str = Field(pattern=r"^[a-z]{3}$", description="ISO 639-3: gsg, ase, bfi")
    signer: str | None = Field(None, min_length=1, max_length=200)
    source: str = Field(ADDED, min_length=1, max_length=200, description="where the recording is from")
    fps: float | None = Field(None, gt=0, le=1000, allow_inf_nan=False)
    width: int | None = Field(None, ge=1, le=100_000)
    height: int | None = Field(None, ge=1, le=100_000)
    consent: Consent

    @model_validator(mode="after")
    def _size(self) -> AddedSign:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height go together")
        return self

    @property
    def aspect(self) -> float | None:
        """width/height, None where unknown."""
        return self.width / self.height if self.width and self.height else None


class Operation(Strict):
    """Header of a record. ``key`` and ``request`` are the client's idempotency key and a hash of what it asked for.

    ``erased``: the poses and labels of an added sign that was removed later are not kept.
    """

    position: int = Field(ge=1)
    kind: Literal["add", "remove"]
    id: str = Field(min_length=1, max_length=MAX_ID)
    time: str  # ISO 8601, UTC
    lease: int = Field(ge=1)
    key: str | None = None
    request: str | None = None
    sign: AddedSign | None = None
    frames: int = 0
    hands: int | None = None  # attributes of the poses
    movement: str | None = None
    location: str | None = None
    model_sha256: str | None = None  # of the model that made the vector
    dims: int = 0
    erased: bool = False


class Record(NamedTuple):
    """An operation, and for an added sign its poses float32 [frames, 75, 3] and unit vector float32 [E]."""

    operation: Operation
    poses: np.ndarray | None = None
    vector: np.ndarray | None = None

    def to_bytes(self) -> bytes:
        """Return the record as it is stored."""
        header = self.operation.model_dump_json(exclude_defaults=True).encode() + b"\n"
        arrays = [np.ascontiguousarray(a, "<f4").tobytes() for a in (self.poses, self.vector) if a is not None]
        content = b"".join([header, *arrays])
        return MAGIC + hashlib.sha256(content).hexdigest().encode() + b"\n" + content

    def row(self) -> dict[str, Any]:
        """Return the entry's columns of ``ROW_SCHEMA``."""
        operation, sign = self.operation, self.operation.sign
        assert sign is not None
        return {
            "id": operation.id,
            "gloss": sign.gloss,
            "sign_language": sign.sign_language,
            "source": sign.source,
            "split": ADDED,
            "texts": [text.model_dump() for text in sign.texts],
            "num_frames": operation.frames,
            "fps": sign.fps,
            "width": sign.width,
            "height": sign.height,
            "signer_kind": "real",
            "signer": sign.signer,
            "corpus": ADDED,
            "hands": operation.hands,
            "movement": operation.movement,
            "location": operation.location,
        }

    def erase(self) -> Record:
        """Return the record of an added sign without its poses, vector and labels."""
        kept = {"position", "kind", "id", "time", "lease", "key"}
        return Record(Operation(**self.operation.model_dump(include=kept), erased=True))


def parse_record(content: bytes, position: int) -> Record:
    """Return the record with this number. Raises LogError when it is torn, damaged or another one."""
    if not content.startswith(MAGIC):
        raise LogError(f"record {position} is damaged: it does not begin like a record")
    digest, _, rest = content[len(MAGIC) :].partition(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != digest:
        raise LogError(f"record {position} is damaged: it does not match its checksum")
    header, _, arrays = rest.partition(b"\n")
    try:
        operation = Operation.model_validate_json(header)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise LogError(
            f"record {position} was written by another version of signatlas ({field}: {first['msg']})"
        ) from None
    if operation.position != position:
        raise LogError(f"record {position} is that of position {operation.position}: files were moved")
    if operation.sign is None:
        return Record(operation)
    numbers = np.frombuffer(arrays, "<f4")
    size = operation.frames * NUM_POINTS * 3
    return Record(operation, numbers[:size].reshape(operation.frames, NUM_POINTS, 3), numbers[size:])
