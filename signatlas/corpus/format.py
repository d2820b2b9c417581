"""The corpus format: a folder of Parquet clips and a corpus.json that says what they are (DESIGN: Corpus)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from signatlas.errors import CorpusError
from signatlas.files import filesystem, folder_atomically, read_bytes, sha256_file
from signatlas.pose.skeleton import NUM_POINTS

KEYPOINT_LAYOUT = "mediapipe-holistic-75"
SPLITS = ("train", "dev", "test")
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
        pa.field("exemplars", pa.list_(pa.string())),
        pa.field("texts", pa.list_(_TEXT)),
        pa.field("fps", pa.float32()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("num_frames", pa.int32(), nullable=False),
        pa.field("poses", pa.list_(pa.list_(pa.list_(pa.float32()))), nullable=False),
        pa.field("visibility", pa.list_(pa.list_(pa.float16()))),
        pa.field("source", pa.string(), nullable=False),
    ]
)
METADATA_COLUMNS = tuple(name for name in SCHEMA.names if name not in ("poses", "visibility"))


@dataclass(frozen=True)
class Clip:
    """One recording. ``poses`` is float32 [frames, 75, 3] in image units, NaN per missing coordinate."""

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
    exemplars: tuple[str, ...] | None = None
    texts: tuple[tuple[str, str], ...] = ()  # (BCP-47 language, text)
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    visibility: np.ndarray | None = None

    @property
    def num_frames(self) -> int:
        return len(self.poses)

    def text(self, language: str) -> str | None:
        """The first text in ``language``, or None."""
        return next((text for tag, text in self.texts if tag == language), None)


@dataclass(frozen=True)
class CorpusInfo:
    """What corpus.json says. ``made`` tells how the corpus was made: command, options, mirrors, rules."""

    name: str
    version: str
    licence: str
    source: str
    sign_languages: tuple[str, ...]
    keypoint_layout: str = KEYPOINT_LAYOUT
    fps: float | None = None
    synthetic: bool = False
    made: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""
    checksums: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


def _check(clip: Clip) -> None:
    if clip.poses.ndim != 3 or clip.poses.shape[1:] != (NUM_POINTS, 3):
        raise CorpusError(f"clip {clip.id}: poses have shape {clip.poses.shape}, expected [frames, 75, 3]")
    if clip.poses.shape[0] == 0:
        raise CorpusError(f"clip {clip.id}: no frames")
    if np.isinf(clip.poses).any():
        raise CorpusError(f"clip {clip.id}: infinite coordinates; missing ones are NaN")
    if clip.visibility is not None and clip.visibility.shape != clip.poses.shape[:2]:
        raise CorpusError(f"clip {clip.id}: visibility has shape {clip.visibility.shape}, expected [frames, 75]")
    if clip.split not in SPLITS:
        raise CorpusError(f"clip {clip.id}: unknown split '{clip.split}', expected one of {', '.join(SPLITS)}")


def _nested(flat: pa.Array, lengths: Sequence[np.ndarray]) -> pa.Array:
    """Wrap a flat array in list layers, innermost first; ``lengths`` gives the list lengths of each layer."""
    for layer in lengths:
        offsets = np.concatenate([[0], np.cumsum(layer)]).astype(np.int32)
        flat = pa.ListArray.from_arrays(pa.array(offsets), flat)
    return flat


def poses_to_arrow(poses: Sequence[np.ndarray]) -> pa.Array:
    """list<list<list<float>>> from arrays [frames, points, 3], through buffers, never row by row."""
    frames = np.array([len(p) for p in poses])
    points = poses[0].shape[1]
    flat = pa.array(np.concatenate([np.asarray(p, np.float32).reshape(-1) for p in poses]))
    total = int(frames.sum())
    return _nested(flat, [np.full(total * points, 3), np.full(total, points), frames])


def poses_from_arrow(column: pa.Array | pa.ChunkedArray) -> list[np.ndarray]:
    """Arrays [frames, points, 3] from a list<list<list<float>>> column; inverse of :func:`poses_to_arrow`."""
    if isinstance(column, pa.ChunkedArray):
        return [array for chunk in column.chunks for array in poses_from_arrow(chunk)]
    if len(column) == 0:
        return []
    frames = np.diff(column.offsets.to_numpy())
    per_frame, per_point = column.flatten(), column.flatten().flatten()
    points = set(np.diff(per_frame.offsets.to_numpy()).tolist())
    dims = set(np.diff(per_point.offsets.to_numpy()).tolist())
    if points - {NUM_POINTS} or dims - {3}:
        raise CorpusError(f"poses hold {sorted(points)} points of {sorted(dims)} coordinates, expected 75 of 3")
    values = per_point.flatten().to_numpy(zero_copy_only=False).reshape(-1, NUM_POINTS, 3)
    return np.split(values, np.cumsum(frames)[:-1])


def _visibility_to_arrow(rows: Sequence[np.ndarray | None]) -> pa.Array:
    frames = np.array([0 if r is None else len(r) for r in rows])
    present = [np.asarray(r, np.float16).reshape(-1) for r in rows if r is not None]
    flat = pa.array(np.concatenate(present) if present else np.zeros(0, np.float16), pa.float16())
    nested = _nested(flat, [np.full(int(frames.sum()), NUM_POINTS), frames])
    return pa.ListArray.from_arrays(nested.offsets, nested.values, mask=pa.array([r is None for r in rows]))


def clips_to_table(clips: Sequence[Clip]) -> pa.Table:
    """A Parquet-ready table of checked clips. Raises CorpusError for a clip that breaks the format."""
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
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def table_to_clips(table: pa.Table) -> Iterator[Clip]:
    """Clips of a table with the columns of ``SCHEMA`` (``visibility`` may be left out)."""
    poses = poses_from_arrow(table["poses"])
    visibility = table["visibility"].to_pylist() if "visibility" in table.column_names else [None] * len(poses)
    rows = table.select([n for n in METADATA_COLUMNS if n in table.column_names]).to_pylist()
    for row, pose, seen in zip(rows, poses, visibility, strict=True):
        row.pop("num_frames")
        for name in ("glosses", "exemplars"):
            row[name] = None if row[name] is None else tuple(row[name])
        spans = row["gloss_spans"]
        row["gloss_spans"] = None if spans is None else tuple((int(a), int(b)) for a, b in spans)
        row["texts"] = tuple((t["language"], t["text"]) for t in row["texts"] or ())
        yield Clip(poses=pose, visibility=None if seen is None else np.array(seen, np.float16), **row)


def clip_digest(clip: Clip) -> str:
    """sha256 over what a clip is: names, labels, texts and coordinates, not how it is stored."""
    digest = hashlib.sha256()
    labels = [clip.id, clip.split, clip.sign_language, clip.source, clip.signer, clip.gloss, clip.glosses, clip.texts]
    digest.update(json.dumps(labels, ensure_ascii=False).encode())
    digest.update(np.ascontiguousarray(clip.poses, "<f4").tobytes())
    return digest.hexdigest()


def write_corpus(
    path: str | os.PathLike[str],
    info: CorpusInfo,
    clips: Iterable[Clip],
    *,
    overwrite: bool = False,
    clips_per_file: int = 1024,
    rows_per_group: int = 128,
) -> Corpus:
    """Write a corpus folder in one step: whole and checksummed, or not at all.

    Streams ``clips``; ids must be unique. Raises CorpusError for a bad clip or an existing target.
    """
    try:
        with folder_atomically(path, overwrite=overwrite) as partial:
            _write_files(partial, info, clips, clips_per_file, rows_per_group)
    except FileExistsError as error:
        raise CorpusError(f"{error}: choose another folder or pass --overwrite") from error
    return Corpus.open(path)


def _write_files(
    folder: Path, info: CorpusInfo, clips: Iterable[Clip], clips_per_file: int, rows_per_group: int
) -> None:
    (folder / "clips").mkdir()
    digests: dict[str, str] = {}
    counts: dict[str, int] = {}
    pending: list[Clip] = []
    files: list[Path] = []

    def flush() -> None:
        target = folder / "clips" / f"part-{len(files):05d}.parquet"
        pq.write_table(clips_to_table(pending), target, compression="zstd", row_group_size=rows_per_group)
        files.append(target)
        pending.clear()

    for clip in clips:
        if clip.id in digests:
            raise CorpusError(f"clip id '{clip.id}' occurs twice")
        digests[clip.id] = clip_digest(clip)
        counts[clip.split] = counts.get(clip.split, 0) + 1
        pending.append(clip)
        if len(pending) == clips_per_file:
            flush()
    if pending:
        flush()
    if not files:
        raise CorpusError("a corpus needs at least one clip")
    store, _ = filesystem(folder)
    complete = replace(
        info,
        counts={split: counts[split] for split in SPLITS if split in counts},
        fingerprint=hashlib.sha256("".join(digests[i] for i in sorted(digests)).encode()).hexdigest(),
        checksums={f"clips/{f.name}": sha256_file(store, str(f)) for f in files},
        sizes={f"clips/{f.name}": f.stat().st_size for f in files},
    )
    document = {f.name: getattr(complete, f.name) for f in fields(complete)}
    (folder / "corpus.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class Corpus:
    """Clips on disk or in an object store, read lazily. Open with :meth:`open`, narrow with :meth:`where`."""

    def __init__(self, path: str, info: CorpusInfo, keep: Callable[[dict[str, Any]], bool] | None = None):
        self.path, self.info, self._keep = path, info, keep
        self._metadata: pa.Table | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, verify: bool = False) -> Corpus:
        """Open a corpus folder or URI. ``verify`` reads every file and compares its sha256.

        Raises CorpusError when it is missing, incomplete or (with ``verify``) damaged.
        """
        text = os.fspath(path)
        try:
            raw = json.loads(read_bytes(f"{text.rstrip('/')}/corpus.json"))
            known = {f.name for f in fields(CorpusInfo)}
            raw["sign_languages"] = tuple(raw["sign_languages"])
            info = CorpusInfo(**{k: v for k, v in raw.items() if k in known})
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CorpusError(f"no corpus at {text}: corpus.json is missing; see 'signatlas corpus --help'") from error
        except (ValueError, KeyError, TypeError) as error:
            raise CorpusError(f"{text}/corpus.json is damaged ({error}); make the corpus again") from error
        if info.keypoint_layout != KEYPOINT_LAYOUT:
            raise CorpusError(f"{text}: keypoint layout '{info.keypoint_layout}', expected '{KEYPOINT_LAYOUT}'")
        corpus = cls(text.rstrip("/"), info)
        corpus._check_files(verify)
        return corpus

    def _check_files(self, verify: bool) -> None:
        store, root = filesystem(self.path)
        for name, size in self.info.sizes.items():
            found = store.get_file_info(f"{root}/{name}")
            if not found.is_file:
                raise CorpusError(f"{self.path}/{name} is missing; make the corpus again")
            if found.size != size:
                raise CorpusError(f"{self.path}/{name} has {found.size} bytes, corpus.json says {size}; make it again")
            if verify and sha256_file(store, f"{root}/{name}") != self.info.checksums[name]:
                raise CorpusError(f"{self.path}/{name} does not match its checksum; make the corpus again")

    @property
    def files(self) -> list[str]:
        """Paths or URIs of the Parquet files, for readers such as ray.data.read_parquet."""
        return [f"{self.path}/{name}" for name in sorted(self.info.checksums)]

    def where(self, keep: Callable[[dict[str, Any]], bool]) -> Corpus:
        """The clips whose metadata row (a dict of ``METADATA_COLUMNS``) ``keep`` accepts. Lazy."""
        before = self._keep
        return Corpus(self.path, self.info, lambda row: (before is None or before(row)) and keep(row))

    def split(self, name: str) -> Corpus:
        """One split. Raises CorpusError for a name the corpus does not have."""
        if name not in self.info.counts:
            raise CorpusError(f"{self.path} has no split '{name}', only {', '.join(self.info.counts)}")
        return self.where(lambda row: row["split"] == name)

    def source(self, name: str) -> Corpus:
        """The clips of one ``source``."""
        return self.where(lambda row: row["source"] == name)

    def metadata(self) -> list[dict[str, Any]]:
        """One dict a clip of every column but the poses, in stored order."""
        if self._metadata is None:
            self._metadata = pa.concat_tables(list(self._tables(METADATA_COLUMNS)))
        return self._metadata.to_pylist()

    def _tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        store, root = filesystem(self.path)
        for name in sorted(self.info.checksums):
            try:
                file = pq.ParquetFile(store.open_input_file(f"{root}/{name}"))
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group, columns=[c for c in columns if c in file.schema_arrow.names])
                    if self._keep is not None:
                        rows = table.select([c for c in METADATA_COLUMNS if c in table.column_names]).to_pylist()
                        table = table.filter(pa.array([self._keep(r) for r in rows], pa.bool_()))
                    yield table.combine_chunks()
            except (pa.ArrowInvalid, OSError) as error:
                reason = str(error).splitlines()[0]
                raise CorpusError(f"{self.path}/{name} cannot be read ({reason}); make the corpus again") from error

    def __len__(self) -> int:
        return len(self.metadata()) if self._keep is not None else sum(self.info.counts.values())

    def __iter__(self) -> Iterator[Clip]:
        for table in self._tables(SCHEMA.names):
            if len(table):
                yield from table_to_clips(table)

    def clip(self, id: str) -> Clip:
        """One clip by id. Raises CorpusError when there is none."""
        for clip in self.where(lambda row: row["id"] == id):
            return clip
        raise CorpusError(f"no clip '{id}' in {self.path}")
