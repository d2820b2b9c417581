"""Clips, their checks, and their Arrow columns in the corpus format."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from signatlas.corpus import SPLITS as SPLITS
from signatlas.errors import CorpusError
from signatlas.pose.skeleton import NUM_POINTS

_TEXT = pa.struct([("language", pa.string()), ("text", pa.string())])
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("signer", pa.string()),
        pa.field("signer_kind", pa.string(), nullable=False),
        pa.field("sign_language", pa.string(), nullable=False),
        pa.field("gloss", pa.string()),
        pa.field("glosses", pa.list_(pa.string())),
        pa.field("gloss_spans", pa.list_(pa.list_(pa.int32()))),
        pa.field("gloss_kinds", pa.list_(pa.string())),
        pa.field("exemplars", pa.list_(pa.string())),
        pa.field("texts", pa.list_(_TEXT)),
        pa.field("fps", pa.float32()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("num_frames", pa.int32(), nullable=False),
        pa.field("poses", pa.list_(pa.list_(pa.list_(pa.float32()))), nullable=False),
        pa.field("visibility", pa.list_(pa.list_(pa.float16()))),
        pa.field("face", pa.list_(pa.list_(pa.list_(pa.float32())))),
        pa.field("source", pa.string(), nullable=False),
    ]
)
METADATA_COLUMNS = tuple(name for name in SCHEMA.names if name not in ("poses", "visibility", "face"))
NUM_FACE = 478  # MediaPipe's face mesh with irises


@dataclass(frozen=True)
class Clip:
    """One recording with its labels.

    ``poses`` is float32 [frames, 75, 3] in image units, NaN for a missing coordinate; ``face`` is float32
    [frames, 478, 3] if face points were extracted. ``gloss_spans`` are (first frame, frame after the last) of each of
    ``glosses``. ``gloss_kinds`` is "real" where a gloss is signed with a recording of its word and "assigned" where
    another sign stands for it. ``exemplars`` are the ids of the recordings that a composed clip is made of.
    """

    id: str
    split: str
    poses: np.ndarray
    sign_language: str
    source: str
    signer: str | None = None
    signer_kind: str = "real"
    gloss: str | None = None
    glosses: tuple[str, ...] | None = None
    gloss_spans: tuple[tuple[int, int], ...] | None = None
    gloss_kinds: tuple[str, ...] | None = None
    exemplars: tuple[str, ...] | None = None
    texts: tuple[tuple[str, str], ...] = ()  # (BCP-47 language, text)
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    visibility: np.ndarray | None = None
    face: np.ndarray | None = None

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self.poses)

    def text(self, language: str) -> str | None:
        """Return the first text in ``language``, or None."""
        return next((text for tag, text in self.texts if tag == language), None)


def _check(clip: Clip) -> None:
    """Raise CorpusError for a clip with wrong shapes, no frames, infinite coordinates or an unknown split."""
    if clip.poses.ndim != 3 or clip.poses.shape[1:] != (NUM_POINTS, 3):
        raise CorpusError(f"clip {clip.id}: poses have shape {clip.poses.shape}, expected [frames, 75, 3]")
    if clip.poses.shape[0] == 0:
        raise CorpusError(f"clip {clip.id}: no frames")
    if np.isinf(clip.poses).any():
        raise CorpusError(f"clip {clip.id}: infinite coordinates; write missing ones as NaN")
    if clip.visibility is not None and clip.visibility.shape != clip.poses.shape[:2]:
        raise CorpusError(f"clip {clip.id}: visibility has shape {clip.visibility.shape}, expected [frames, 75]")
    if clip.face is not None and clip.face.shape != (clip.num_frames, NUM_FACE, 3):
        raise CorpusError(f"clip {clip.id}: face has shape {clip.face.shape}, expected [frames, {NUM_FACE}, 3]")
    _check_glosses(clip)
    if clip.split not in SPLITS:
        raise CorpusError(f"clip {clip.id}: unknown split '{clip.split}', expected one of {', '.join(SPLITS)}")


def _check_glosses(clip: Clip) -> None:
    """Raise CorpusError unless each gloss has one span, kind and exemplar, and spans lie inside the clip."""
    for name in ("gloss_spans", "gloss_kinds", "exemplars"):
        values = getattr(clip, name)
        if values is not None and clip.glosses is not None and len(values) != len(clip.glosses):
            raise CorpusError(f"clip {clip.id}: {len(values)} {name} for {len(clip.glosses)} glosses")
    for first, end in clip.gloss_spans or ():
        if not 0 <= first < end <= clip.num_frames:
            raise CorpusError(f"clip {clip.id}: gloss span {first}-{end} is outside its {clip.num_frames} frames")


def _nested(flat: pa.Array, lengths: Sequence[np.ndarray]) -> pa.Array:
    """Wrap a flat array in list layers, innermost first; ``lengths`` are the list lengths of each layer."""
    for layer in lengths:
        offsets = np.concatenate([[0], np.cumsum(layer)]).astype(np.int32)
        flat = pa.ListArray.from_arrays(pa.array(offsets), flat)
    return flat


def poses_to_arrow(poses: Sequence[np.ndarray]) -> pa.Array:
    """Return a list<list<list<float>>> array of ``poses`` [frames, points, 3], built from buffers, not row by row."""
    frames = np.array([len(p) for p in poses])
    points = poses[0].shape[1]
    flat = pa.array(np.concatenate([np.asarray(p, np.float32).reshape(-1) for p in poses]))
    total = int(frames.sum())
    return _nested(flat, [np.full(total * points, 3), np.full(total, points), frames])


def poses_from_arrow(column: pa.Array | pa.ChunkedArray, num_points: int = NUM_POINTS) -> list[np.ndarray]:
    """Return arrays [frames, points, 3] from a list<list<list<float>>> column; inverse of :func:`poses_to_arrow`."""
    if isinstance(column, pa.ChunkedArray):
        return [array for chunk in column.chunks for array in poses_from_arrow(chunk, num_points)]
    if len(column) == 0:
        return []
    frames = np.diff(column.offsets.to_numpy())
    per_frame, per_point = column.flatten(), column.flatten().flatten()
    points = set(np.diff(per_frame.offsets.to_numpy()).tolist())
    dims = set(np.diff(per_point.offsets.to_numpy()).tolist())
    if points - {num_points} or dims - {3}:
        raise CorpusError(
            f"poses with {sorted(points)} points of {sorted(dims)} coordinates, expected {num_points} of 3"
        )
    values = per_point.flatten().to_numpy(zero_copy_only=False).reshape(-1, num_points, 3)
    return np.split(values, np.cumsum(frames)[:-1])


def _visibility_to_arrow(rows: Sequence[np.ndarray | None]) -> pa.Array:
    frames = np.array([0 if r is None else len(r) for r in rows])
    present = [np.asarray(r, np.float16).reshape(-1) for r in rows if r is not None]
    flat = pa.array(np.concatenate(present) if present else np.zeros(0, np.float16), pa.float16())
    nested = _nested(flat, [np.full(int(frames.sum()), NUM_POINTS), frames])
    return pa.ListArray.from_arrays(nested.offsets, nested.values, mask=pa.array([r is None for r in rows]))


def _faces_to_arrow(rows: Sequence[np.ndarray | None]) -> pa.Array:
    if all(row is None for row in rows):
        return pa.nulls(len(rows), SCHEMA.field("face").type)
    nested = poses_to_arrow([np.zeros((0, NUM_FACE, 3), np.float32) if row is None else row for row in rows])
    return pa.ListArray.from_arrays(nested.offsets, nested.values, mask=pa.array([row is None for row in rows]))


def _faces_from_arrow(column: pa.ChunkedArray) -> list[np.ndarray | None]:
    if column.null_count == len(column):
        return [None] * len(column)
    faces = iter(poses_from_arrow(column.drop_null(), NUM_FACE))
    return [next(faces) if valid else None for valid in column.is_valid().to_pylist()]


def clips_to_table(clips: Sequence[Clip]) -> pa.Table:
    """Return a table of clips with the columns of ``SCHEMA``. Raises CorpusError for an invalid clip."""
    for clip in clips:
        _check(clip)
    columns: dict[str, Any] = {
        name: pa.array([getattr(c, name) for c in clips], SCHEMA.field(name).type)
        for name in METADATA_COLUMNS
        if name not in ("texts", "num_frames")
    }
    columns["texts"] = pa.array(
        [[{"language": tag, "text": text} for tag, text in c.texts] for c in clips], SCHEMA.field("texts").type
    )
    columns["num_frames"] = pa.array([c.num_frames for c in clips], pa.int32())
    columns["poses"] = poses_to_arrow([c.poses for c in clips])
    columns["visibility"] = _visibility_to_arrow([c.visibility for c in clips])
    columns["face"] = _faces_to_arrow([c.face for c in clips])
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def table_to_clips(table: pa.Table) -> Iterator[Clip]:
    """Yield the clips of a table with the columns of ``SCHEMA``; visibility, face and gloss_kinds are optional."""
    poses = poses_from_arrow(table["poses"])
    visibility = table["visibility"].to_pylist() if "visibility" in table.column_names else [None] * len(poses)
    faces = _faces_from_arrow(table["face"]) if "face" in table.column_names else [None] * len(poses)
    rows = table.select([n for n in METADATA_COLUMNS if n in table.column_names]).to_pylist()
    for row, pose, scores, face in zip(rows, poses, visibility, faces, strict=True):
        row.pop("num_frames")
        for name in ("glosses", "gloss_kinds", "exemplars"):
            row[name] = None if row.get(name) is None else tuple(row[name])
        spans = row["gloss_spans"]
        row["gloss_spans"] = None if spans is None else tuple((int(a), int(b)) for a, b in spans)
        row["texts"] = tuple((t["language"], t["text"]) for t in row["texts"] or ())
        yield Clip(poses=pose, visibility=None if scores is None else np.array(scores, np.float16), face=face, **row)


def clip_digest(clip: Clip) -> str:
    """Return the sha256 of a clip's id, labels, texts and coordinates, independent of how they are stored."""
    digest = hashlib.sha256()
    labels = [getattr(clip, name) for name in METADATA_COLUMNS if name not in ("fps", "gloss_kinds")]
    labels += [clip.gloss_kinds] if clip.gloss_kinds else []  # a newer column: clips without it keep their digest
    fps = None if clip.fps is None else float(np.float32(clip.fps))  # the precision of its column
    digest.update(json.dumps([*labels, fps], ensure_ascii=False).encode())
    digest.update(np.ascontiguousarray(clip.poses, "<f4").tobytes())
    if clip.visibility is not None:
        digest.update(np.ascontiguousarray(clip.visibility, "<f2").tobytes())
    if clip.face is not None:
        digest.update(np.ascontiguousarray(clip.face, "<f4").tobytes())
    return digest.hexdigest()


# ISO 639-3 codes that the IANA language subtag registry prefers to the old sgn-* tags.
SIGN_LANGUAGE_TAGS = {
    "sgn-be-fr": "sfb", "sgn-be-nl": "vgt", "sgn-br": "bzs", "sgn-ch-de": "sgg", "sgn-co": "csn", "sgn-de": "gsg",
    "sgn-dk": "dsl", "sgn-es": "ssp", "sgn-fr": "fsl", "sgn-gb": "bfi", "sgn-gr": "gss", "sgn-ie": "isg",
    "sgn-it": "ise", "sgn-jp": "jsl", "sgn-mx": "mfs", "sgn-ni": "ncs", "sgn-nl": "dse", "sgn-no": "nsl",
    "sgn-pt": "psr", "sgn-se": "swl", "sgn-us": "ase", "sgn-za": "sfs",
}  # fmt: skip


def sign_language_code(name: str) -> str:
    """Return the ISO 639-3 code of a sign language, given as such or as an old tag. Raises CorpusError otherwise.

    >>> sign_language_code("sgn-DE"), sign_language_code("ase")
    ('gsg', 'ase')
    """
    code = SIGN_LANGUAGE_TAGS.get(name.lower(), name)
    if not re.fullmatch("[a-z]{3}", code):
        raise CorpusError(f"sign language '{name}' is not an ISO 639-3 code; use a code such as ase, gsg or bfi")
    return code
