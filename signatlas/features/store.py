"""Folders of clip features: the windows of each video in one or two streams, memory-mapped.

`features.json` describes the features, `rows.parquet` (`id, start, count`) locates the windows of each video,
`<stream>.npy` float16 [windows, width] contains them, and `models/<stream>/` is the encoder, if known.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from signatlas.errors import FeatureError
from signatlas.files import folder_atomically, sha256_file

INFO, ROWS = "features.json", "rows.parquet"


class FeatureInfo(BaseModel):
    """Content of features.json. ``limit``: maximum windows per video, evenly spaced."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["windows", "precomputed", "glosses"]
    streams: tuple[str, ...]  # "agnostic", "aware"; a single stream is used for both
    width: int
    corpus: str
    corpus_fingerprint: str
    window: int | None = None  # frames
    stride: int | None = None
    limit: int | None = None
    made: dict[str, str] = {}  # models, seeds, sources
    checksums: dict[str, str] = {}


def subsample(count: int, limit: int | None) -> np.ndarray:
    """Return the positions of at most ``limit`` of ``count`` windows, evenly spaced from first to last (CiCo)."""
    if limit is None or count <= limit:
        return np.arange(count)
    return np.linspace(0, count - 1, limit).round().astype(np.int64)


class FeatureStore:
    """An open folder of features: ``of`` returns one video, ``batch`` several, padded."""

    def __init__(self, path: Path, info: FeatureInfo, rows: pa.Table):
        self.path, self.info = path, info
        self.ids: list[str] = rows["id"].to_pylist()
        self.starts, self.counts = (rows[name].to_numpy().astype(np.int64) for name in ("start", "count"))
        self._positions = {id: position for position, id in enumerate(self.ids)}

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> FeatureStore:
        """Open the features in ``path``. Raises FeatureError if they are missing or damaged."""
        folder = Path(path)
        try:
            info = FeatureInfo.model_validate_json((folder / INFO).read_bytes())
            rows = pq.read_table(folder / ROWS)
        except FileNotFoundError as error:
            raise FeatureError(
                f"no clip features at {folder}: create them with 'signatlas features extract'"
            ) from error
        except (ValidationError, pa.ArrowInvalid, OSError) as error:
            raise FeatureError(
                f"{folder} is damaged ({str(error).splitlines()[0]}); create the features again"
            ) from error
        store = cls(folder, info, rows)
        store._arrays  # noqa: B018  opened now, so that damaged files fail early
        return store

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {}
        for stream in self.info.streams:
            try:
                array = np.load(self.path / f"{stream}.npy", mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise FeatureError(f"{self.path}/{stream}.npy cannot be read ({error}); create it again") from error
            expected = (int(self.counts.sum()), self.info.width)
            if array.shape != expected:
                raise FeatureError(f"{self.path}/{stream}.npy is {array.shape}, expected {expected}; create it again")
            arrays[stream] = array
        return arrays

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of the content of all streams."""
        return "-".join(self.info.checksums[f"{stream}.npy"][:16] for stream in self.info.streams)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id: str) -> bool:
        return id in self._positions

    def positions(self, ids: Iterable[str]) -> np.ndarray:
        """Return the positions int64 of ids. Raises FeatureError for an id without features."""
        try:
            return np.array([self._positions[id] for id in ids], np.int64)
        except KeyError as error:
            raise FeatureError(f"{self.path} has no features of clip {error}; create the features again") from error

    def of(self, position: int, *, alpha: float, limit: int | None = None) -> np.ndarray:
        """Return features float32 [windows, width] of one video: (1 - alpha) aware + alpha agnostic (CiCo, Eq. 1)."""
        start, count = self.starts[position], self.counts[position]
        rows = start + subsample(int(count), limit)
        return self._mixed(alpha, rows)

    def _mixed(self, alpha: float, rows: np.ndarray) -> np.ndarray:
        if len(self.info.streams) == 1:
            return np.asarray(self._arrays[self.info.streams[0]][rows], np.float32)
        total = np.zeros((len(rows), self.info.width), np.float32)
        for stream, share in (("aware", 1 - alpha), ("agnostic", alpha)):
            if share:
                total += np.float32(share) * self._arrays[stream][rows]
        return total

    def batch(
        self, positions: Sequence[int] | np.ndarray, *, alpha: float, limit: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return features float32 [B, limit, width], zero-padded, and their mask bool [B, limit]."""
        features = np.zeros((len(positions), limit, self.info.width), np.float32)
        mask = np.zeros((len(positions), limit), bool)
        for row, position in enumerate(positions):
            values = self.of(int(position), alpha=alpha, limit=limit)
            features[row, : len(values)], mask[row, : len(values)] = values, True
        return features, mask


def write(
    path: str | os.PathLike[str],
    info: FeatureInfo,
    ids: Sequence[str],
    counts: Sequence[int],
    streams: Mapping[str, Iterable[np.ndarray]],
    *,
    models: Mapping[str, str | os.PathLike[str]] | None = None,
    overwrite: bool = False,
) -> FeatureStore:
    """Write features atomically. ``streams`` yield arrays [windows, width] in the order of ``ids``.

    Raises FeatureError for an existing target, and for features that are not finite or do not match ``counts``.
    """
    import shutil

    counts_array = np.asarray(counts, np.int64)
    try:
        with folder_atomically(path, overwrite=overwrite) as partial:
            rows = {"id": list(ids), "start": np.cumsum(counts_array) - counts_array, "count": counts_array}
            pq.write_table(pa.table(rows), partial / ROWS, compression="zstd")
            for stream in info.streams:
                shape = (int(counts_array.sum()), info.width)
                _write_array(partial / f"{stream}.npy", shape, streams[stream])
            for stream, source in (models or {}).items():
                shutil.copytree(source, partial / "models" / stream)
            checksums = {f"{stream}.npy": _checksum(partial / f"{stream}.npy") for stream in info.streams}
            text = info.model_copy(update={"checksums": checksums}).model_dump_json(indent=2)
            (partial / INFO).write_text(text + "\n", encoding="utf-8")
    except FileExistsError as error:
        raise FeatureError(f"{error}: choose another folder or pass --overwrite") from error
    return FeatureStore.open(path)


def _write_array(path: Path, shape: tuple[int, int], parts: Iterable[np.ndarray]) -> None:
    target = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    done = 0
    for part in parts:
        if part.ndim != 2 or part.shape[1] != shape[1]:
            raise FeatureError(f"features have shape {part.shape}, expected width {shape[1]}")
        if not np.isfinite(part).all():
            raise FeatureError(f"{path.stem} features from window {done} on are not finite")
        if done + len(part) > shape[0]:
            raise FeatureError(f"{path.stem} has more than the expected {shape[0]} windows")
        target[done : done + len(part)] = part
        done += len(part)
    if done != shape[0]:
        raise FeatureError(f"{path.stem} has {done} windows, expected {shape[0]}")
    target.flush()


def _checksum(path: Path) -> str:
    from pyarrow.fs import LocalFileSystem

    return sha256_file(LocalFileSystem(), str(path))
