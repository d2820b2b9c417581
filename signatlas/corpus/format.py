"""The corpus format: Parquet files of clips, and corpus.json with their metadata, checksums and fingerprint."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem, copy_files

from signatlas.corpus.clips import (
    METADATA_COLUMNS,
    SCHEMA,
    SPLITS,
    Clip,
    clip_digest,
    clips_to_table,
    poses_from_arrow,
    poses_to_arrow,
    table_to_clips,
)
from signatlas.errors import CorpusError
from signatlas.files import filesystem, folder_atomically, read_bytes, sha256_file

__all__ = [
    "KEYPOINT_LAYOUT", "METADATA_COLUMNS", "SCHEMA", "SPLITS", "Clip", "Corpus", "CorpusInfo", "clip_digest",
    "clips_to_table", "fingerprint", "poses_from_arrow", "poses_to_arrow", "table_to_clips", "write_corpus",
]  # fmt: skip
FORMAT = 2  # of corpus.json; format 1 has no "format" and spells the license "licence"
KEYPOINT_LAYOUT = "mediapipe-holistic-75"
# Upper limits on the points in a Parquet file, which the writer holds in memory, and in a row group, which a reader
# does. Each holds at least one clip. Only long clips or clips with faces reach them before the limits on clips.
FILE_POINTS, GROUP_POINTS = 20_000_000, 8_000_000


@dataclass(frozen=True)
class CorpusInfo:
    """The content of corpus.json. ``made`` records how the corpus was made: command, options, split rule, seed."""

    name: str
    version: str
    license: str
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


def fingerprint(digests: dict[str, str]) -> str:
    """Return the sha256 over the :func:`clip_digest` of each id, sorted by id: independent of order and sharding."""
    return hashlib.sha256("".join(digests[i] for i in sorted(digests)).encode()).hexdigest()


def write_corpus(
    path: str | os.PathLike[str],
    info: CorpusInfo,
    clips: Iterable[Clip],
    *,
    overwrite: bool = False,
    clips_per_file: int = 1024,
    rows_per_group: int = 128,
    extra_files: Mapping[str, str] | None = None,
) -> Corpus:
    """Write a corpus to a folder or URI, and open it. A failure leaves no corpus behind.

    ``clips`` are streamed and need unique ids; a file has at most ``clips_per_file`` of them, fewer if they are long.
    ``extra_files`` are small texts to store next to corpus.json, by file name. In an object store corpus.json is
    written last. Raises CorpusError for an invalid clip and for a target that exists.
    """
    if "://" in os.fspath(path):
        return _upload(
            os.fspath(path).rstrip("/"), info, clips, overwrite, clips_per_file, rows_per_group, extra_files or {}
        )
    try:
        with folder_atomically(path, overwrite=overwrite) as partial:
            _write_files(partial, info, clips, clips_per_file, rows_per_group)
            _write_texts(partial, extra_files or {})
    except FileExistsError as error:
        raise CorpusError(f"{error}: choose another folder or pass --overwrite") from error
    except OSError as error:
        reason = error.strerror or error
        raise CorpusError(f"{path} cannot be written ({reason}): free some space or choose another folder") from error
    return Corpus.open(path)


def _write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _upload(
    uri: str,
    info: CorpusInfo,
    clips: Iterable[Clip],
    overwrite: bool,
    clips_per_file: int,
    rows_per_group: int,
    extra_files: Mapping[str, str],
) -> Corpus:
    store, root = filesystem(uri)
    if store.get_file_info(f"{root}/corpus.json").is_file and not overwrite:
        raise CorpusError(f"{uri} already exists: choose another folder or pass --overwrite")
    with tempfile.TemporaryDirectory(prefix="signatlas-corpus-") as temporary:
        _write_files(Path(temporary), info, clips, clips_per_file, rows_per_group)
        _write_texts(Path(temporary), extra_files)
        if overwrite and store.get_file_info(f"{root}/corpus.json").is_file:
            store.delete_file(f"{root}/corpus.json")
            store.delete_dir_contents(f"{root}/clips", missing_dir_ok=True)
        store.create_dir(f"{root}/clips", recursive=True)
        local = LocalFileSystem()
        for name in ("clips", *extra_files, "corpus.json"):
            copy_files(f"{temporary}/{name}", f"{root}/{name}", source_filesystem=local, destination_filesystem=store)
    return Corpus.open(uri)


def _write_files(
    folder: Path, info: CorpusInfo, clips: Iterable[Clip], clips_per_file: int, rows_per_group: int
) -> None:
    (folder / "clips").mkdir()
    digests: dict[str, str] = {}
    counts: dict[str, int] = {}
    pending: list[Clip] = []
    pending_points = 0
    files: list[Path] = []

    def flush() -> None:
        target = folder / "clips" / f"part-{len(files):05d}.parquet"
        rows = max(1, min(rows_per_group, GROUP_POINTS // max(map(_num_points, pending))))
        pq.write_table(clips_to_table(pending), target, compression="zstd", row_group_size=rows)
        files.append(target)
        pending.clear()

    for clip in clips:
        if clip.id in digests:
            raise CorpusError(f"duplicate clip id '{clip.id}': give every clip its own id")
        digests[clip.id] = clip_digest(clip)
        counts[clip.split] = counts.get(clip.split, 0) + 1
        if pending and pending_points + _num_points(clip) > FILE_POINTS:
            flush()
        pending_points = _num_points(clip) + (pending_points if pending else 0)
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
        fingerprint=fingerprint(digests),
        checksums={f"clips/{f.name}": sha256_file(store, str(f)) for f in files},
        sizes={f"clips/{f.name}": f.stat().st_size for f in files},
    )
    document = {"format": FORMAT} | {f.name: getattr(complete, f.name) for f in fields(complete)}
    (folder / "corpus.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _num_points(clip: Clip) -> int:
    return max(1, clip.poses.size // 3 + (0 if clip.face is None else clip.face.size // 3))


class Corpus:
    """Clips on disk or in an object store, read lazily. Open with :meth:`open`, filter with :meth:`where`."""

    def __init__(self, path: str, info: CorpusInfo, keep: Callable[[dict[str, Any]], bool] | None = None):
        self.path, self.info, self._keep = path, info, keep
        self._metadata: pa.Table | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, verify: bool = False) -> Corpus:
        """Open a corpus folder or URI. ``verify`` compares the sha256 of every file.

        Raises CorpusError when the corpus is missing, incomplete or (with ``verify``) damaged.
        """
        corpus = cls.open_unchecked(path)
        for problem in corpus.damage(verify=verify):
            raise CorpusError(f"{problem}; create the corpus again")
        return corpus

    @classmethod
    def open_unchecked(cls, path: str | os.PathLike[str]) -> Corpus:
        """Read corpus.json only; :meth:`damage` checks the files.

        Raises CorpusError when it is missing or damaged, or has a newer format or another keypoint layout.
        """
        text = os.fspath(path).rstrip("/")
        try:
            document = json.loads(read_bytes(f"{text}/corpus.json"))
            version = int(document.get("format", 1))
            if version > FORMAT:
                raise CorpusError(f"{text} has corpus format {version}; this signatlas reads up to {FORMAT}: update it")
            if version == 1 and "licence" in document:
                document["license"] = document.pop("licence")
            known = {f.name for f in fields(CorpusInfo)}
            document["sign_languages"] = tuple(document["sign_languages"])
            info = CorpusInfo(**{name: value for name, value in document.items() if name in known})
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CorpusError(f"no corpus at {text}: corpus.json is missing; see 'signatlas corpus --help'") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorpusError(f"{text}/corpus.json is damaged ({error}); create the corpus again") from error
        if info.keypoint_layout != KEYPOINT_LAYOUT:
            raise CorpusError(f"{text}: keypoint layout '{info.keypoint_layout}', expected '{KEYPOINT_LAYOUT}'")
        return cls(text, info)

    def damage(self, *, verify: bool = True) -> Iterator[str]:
        """Yield one line for each file that is missing or whose size or (with ``verify``) checksum is wrong."""
        store, root = filesystem(self.path)
        for name, size in self.info.sizes.items():
            file = store.get_file_info(f"{root}/{name}")
            if not file.is_file:
                yield f"{self.path}/{name} is missing"
            elif file.size != size:
                yield f"{self.path}/{name} has {file.size} bytes, but corpus.json records {size}"
            elif verify and sha256_file(store, f"{root}/{name}") != self.info.checksums[name]:
                yield f"{self.path}/{name} does not match its checksum"

    @property
    def files(self) -> list[str]:
        """Paths or URIs of the Parquet files, for readers such as ray.data.read_parquet."""
        return [f"{self.path}/{name}" for name in sorted(self.info.checksums)]

    def where(self, keep: Callable[[dict[str, Any]], bool]) -> Corpus:
        """Return the clips whose metadata row (a dict of ``METADATA_COLUMNS``) satisfies ``keep``, evaluated lazily."""
        previous = self._keep
        return Corpus(self.path, self.info, lambda row: (previous is None or previous(row)) and keep(row))

    def split(self, name: str) -> Corpus:
        """Return the clips of one split. Raises CorpusError if the corpus has no such split."""
        if name not in self.info.counts:
            raise CorpusError(f"{self.path} has no split '{name}', only {', '.join(self.info.counts)}")
        return self.where(lambda row: row["split"] == name)

    def source(self, name: str) -> Corpus:
        """Return the clips of one source."""
        return self.where(lambda row: row["source"] == name)

    def metadata(self) -> list[dict[str, Any]]:
        """Return one dict per clip with all columns except poses, visibility and face, in stored order."""
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
                raise CorpusError(f"{self.path}/{name} cannot be read ({reason}); create the corpus again") from error

    def __len__(self) -> int:
        return len(self.metadata()) if self._keep is not None else sum(self.info.counts.values())

    def __iter__(self) -> Iterator[Clip]:
        for table in self._tables(SCHEMA.names):
            if len(table):
                yield from table_to_clips(table)

    def poses(self) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        """Yield each clip's metadata row and poses float32 [frames, 75, 3]; visibility and face are not read."""
        for table in self._tables((*METADATA_COLUMNS, "poses")):
            if len(table):
                yield from zip(table.drop_columns("poses").to_pylist(), poses_from_arrow(table["poses"]), strict=True)

    def clip(self, id: str) -> Clip:
        """Return the clip with this id. Raises CorpusError if there is none."""
        for clip in self.where(lambda row: row["id"] == id):
            return clip
        raise CorpusError(f"no clip '{id}' in {self.path}")
