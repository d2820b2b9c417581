"""The corpus format: a folder of Parquet clips and a corpus.json that says what they are (DESIGN: Corpus)."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

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
KEYPOINT_LAYOUT = "mediapipe-holistic-75"
# Points that a Parquet file and a row group hold at most (but always a clip): a writer has a file in memory, a reader a
# row group. Only long clips, or many points a frame, come to it before they come to the numbers of clips.
FILE_POINTS, GROUP_POINTS = 20_000_000, 8_000_000


@dataclass(frozen=True)
class CorpusInfo:
    """What corpus.json says. ``made`` tells how the corpus was made: command, options, mirrors, rules."""

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
    """sha256 over the :func:`clip_digest` of each id, in the order of the ids: independent of order and sharding."""
    return hashlib.sha256("".join(digests[i] for i in sorted(digests)).encode()).hexdigest()


def write_corpus(
    path: str | os.PathLike[str],
    info: CorpusInfo,
    clips: Iterable[Clip],
    *,
    overwrite: bool = False,
    clips_per_file: int = 1024,
    rows_per_group: int = 128,
    beside: Mapping[str, str] | None = None,
) -> Corpus:
    """Write a corpus folder in one step: whole and checksummed, or not at all.

    Streams ``clips``; ids must be unique. An object store (a URI) gets corpus.json last: without it there is no corpus.
    ``beside`` are small text files to lie beside corpus.json, by their names. Long clips make smaller files.
    Raises CorpusError for a bad clip or an existing target.
    """
    if "://" in os.fspath(path):
        return _upload(
            os.fspath(path).rstrip("/"), info, clips, overwrite, clips_per_file, rows_per_group, beside or {}
        )
    try:
        with folder_atomically(path, overwrite=overwrite) as partial:
            _write_files(partial, info, clips, clips_per_file, rows_per_group)
            _write_texts(partial, beside or {})
    except FileExistsError as error:
        raise CorpusError(f"{error}: choose another folder or pass --overwrite") from error
    except OSError as error:
        reason = error.strerror or error
        raise CorpusError(f"{path} cannot be written ({reason}): make room or choose another folder") from error
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
    beside: Mapping[str, str],
) -> Corpus:
    store, root = filesystem(uri)
    if store.get_file_info(f"{root}/corpus.json").is_file and not overwrite:
        raise CorpusError(f"{uri} exists already: choose another folder or pass --overwrite")
    with tempfile.TemporaryDirectory(prefix="signatlas-corpus-") as temporary:
        _write_files(Path(temporary), info, clips, clips_per_file, rows_per_group)
        _write_texts(Path(temporary), beside)
        if overwrite and store.get_file_info(f"{root}/corpus.json").is_file:
            store.delete_file(f"{root}/corpus.json")
            store.delete_dir_contents(f"{root}/clips", missing_dir_ok=True)
        store.create_dir(f"{root}/clips", recursive=True)
        local = LocalFileSystem()
        for name in ("clips", *beside, "corpus.json"):
            copy_files(f"{temporary}/{name}", f"{root}/{name}", source_filesystem=local, destination_filesystem=store)
    return Corpus.open(uri)


def _write_files(
    folder: Path, info: CorpusInfo, clips: Iterable[Clip], clips_per_file: int, rows_per_group: int
) -> None:
    (folder / "clips").mkdir()
    digests: dict[str, str] = {}
    counts: dict[str, int] = {}
    pending: list[Clip] = []
    held = 0
    files: list[Path] = []

    def flush() -> None:
        target = folder / "clips" / f"part-{len(files):05d}.parquet"
        rows = max(1, min(rows_per_group, GROUP_POINTS // max(map(_num_points, pending))))
        pq.write_table(clips_to_table(pending), target, compression="zstd", row_group_size=rows)
        files.append(target)
        pending.clear()

    for clip in clips:
        if clip.id in digests:
            raise CorpusError(f"clip id '{clip.id}' occurs twice")
        digests[clip.id] = clip_digest(clip)
        counts[clip.split] = counts.get(clip.split, 0) + 1
        if pending and held + _num_points(clip) > FILE_POINTS:
            flush()
        held = _num_points(clip) + (held if pending else 0)
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
    document = {f.name: getattr(complete, f.name) for f in fields(complete)}
    (folder / "corpus.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _num_points(clip: Clip) -> int:
    return max(1, clip.poses.size // 3 + (0 if clip.face is None else clip.face.size // 3))


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
        corpus = cls.open_unchecked(path)
        for problem in corpus.damage(verify=verify):
            raise CorpusError(f"{problem}; make the corpus again")
        return corpus

    @classmethod
    def open_unchecked(cls, path: str | os.PathLike[str]) -> Corpus:
        """Read corpus.json alone. Raises CorpusError when it is missing, damaged or of another keypoint layout."""
        text = os.fspath(path).rstrip("/")
        try:
            raw = json.loads(read_bytes(f"{text}/corpus.json"))
            known = {f.name for f in fields(CorpusInfo)}
            raw["sign_languages"] = tuple(raw["sign_languages"])
            info = CorpusInfo(**{k: v for k, v in raw.items() if k in known})
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CorpusError(f"no corpus at {text}: corpus.json is missing; see 'signatlas corpus --help'") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorpusError(f"{text}/corpus.json is damaged ({error}); make the corpus again") from error
        if info.keypoint_layout != KEYPOINT_LAYOUT:
            raise CorpusError(f"{text}: keypoint layout '{info.keypoint_layout}', expected '{KEYPOINT_LAYOUT}'")
        return cls(text, info)

    def damage(self, *, verify: bool = True) -> Iterator[str]:
        """One line for each file that is missing, of another size or (with ``verify``) of another checksum."""
        store, root = filesystem(self.path)
        for name, size in self.info.sizes.items():
            found = store.get_file_info(f"{root}/{name}")
            if not found.is_file:
                yield f"{self.path}/{name} is missing"
            elif found.size != size:
                yield f"{self.path}/{name} has {found.size} bytes, corpus.json says {size}"
            elif verify and sha256_file(store, f"{root}/{name}") != self.info.checksums[name]:
                yield f"{self.path}/{name} does not match its checksum"

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
