"""Token features of a reference model's checkpoints on disk: a folder a checkpoint, memory-mapped float16.

`epoch_0005/` holds `visual.npy` and `text.npy` [tokens, width], tokens of length one, clip after clip; `rows.parquet`
(`id, group, visual_start, visual_count, text_start, text_count`; identical texts share a group); `visual_pooled.npy`
and `text_pooled.npy` [clips, width], one vector each; `snapshot.json`. `trajectories.json` names the checkpoints that
belong together.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from signatlas.errors import FeatureError
from signatlas.files import folder_atomically, sha256_file
from signatlas.models.dual_encoder.config import SimilarityConfig

INFO, SNAPSHOT, ROWS = "trajectories.json", "snapshot.json", "rows.parquet"
SIDES = ("visual", "text")
_HEADER = 128  # bytes before the values; room for any shape


class SnapshotInfo(BaseModel):
    """What snapshot.json says. ``made`` names all that decides on the content: model, clips, corpus, inputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int  # finished epochs, from 1
    width: int
    made: dict[str, str]
    checksums: dict[str, str] = {}


class TrajectoriesInfo(BaseModel):
    """What trajectories.json says. ``moments``: mean and deviation of a sample of each checkpoint's similarities."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: tuple[int, ...]
    similarity: SimilarityConfig
    corpus: str
    snapshots: tuple[dict[str, str], ...]  # ``made`` of each
    moments: dict[str, tuple[tuple[float, float], ...]] = {}


class Encoded(NamedTuple):
    """Some clips and their texts: unit tokens [sum, D], how many each has, one vector [B, D] each."""

    visual: np.ndarray
    visual_counts: np.ndarray
    visual_pooled: np.ndarray
    text: np.ndarray
    text_counts: np.ndarray
    text_pooled: np.ndarray


def folder_name(epoch: int) -> str:
    return f"epoch_{epoch:04d}"


def digest_of(values: Iterable[str]) -> str:
    """16 hexadecimal digits of strings in their order."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(value.encode() + b"\0")
    return digest.hexdigest()[:16]


class _Array:
    """A .npy file of float16 rows that is written without knowing how many there will be."""

    def __init__(self, path: Path, width: int):
        self.path, self.width, self.rows = path, width, 0
        self._file: BinaryIO = path.open("wb")
        self._file.write(bytes(_HEADER))

    def append(self, rows: np.ndarray) -> None:
        """Raises FeatureError for values that are not finite."""
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise FeatureError(f"token features of shape {rows.shape} among others of width {self.width}")
        if not np.isfinite(rows).all():
            raise FeatureError("token features are not finite: has the reference model diverged? Train it anew")
        self._file.write(np.ascontiguousarray(rows, np.float16).tobytes())
        self.rows += len(rows)

    def close(self) -> None:
        shape = f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({self.rows}, {self.width}), }}"
        magic = b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little")
        self._file.seek(0)
        self._file.write(magic + shape.ljust(_HEADER - 11).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def write_snapshot(
    folder: str | os.PathLike[str],
    info: SnapshotInfo,
    ids: Sequence[str],
    groups: Sequence[int] | np.ndarray,
    parts: Iterable[Encoded],
) -> None:
    """Write one checkpoint's features in one step. ``parts`` together follow ``ids``. Raises FeatureError."""
    from pyarrow.fs import LocalFileSystem

    with folder_atomically(Path(folder) / folder_name(info.epoch), overwrite=True) as partial:
        names = [*SIDES, *(f"{side}_pooled" for side in SIDES)]
        arrays = {name: _Array(partial / f"{name}.npy", info.width) for name in names}
        counts: dict[str, list[np.ndarray]] = {side: [] for side in SIDES}
        for part in parts:
            for name in names:
                arrays[name].append(getattr(part, name))
            for side in SIDES:
                counts[side].append(getattr(part, f"{side}_counts"))
        for array in arrays.values():
            array.close()
        rows: dict[str, Any] = {"id": list(ids), "group": np.asarray(groups, np.int64)}
        for side in SIDES:
            count = np.concatenate(counts[side]).astype(np.int64)
            if len(count) != len(ids) or count.sum() != arrays[side].rows or (count < 1).any():
                raise FeatureError(f"{side} tokens of {len(count)} clips came for {len(ids)}, or clips without a token")
            rows |= {f"{side}_start": np.cumsum(count) - count, f"{side}_count": count}
        pq.write_table(pa.table(rows), partial / ROWS, compression="zstd")
        checksums = {f.name: sha256_file(LocalFileSystem(), str(f)) for f in sorted(partial.iterdir())}
        text = info.model_copy(update={"checksums": checksums}).model_dump_json(indent=2)
        (partial / SNAPSHOT).write_text(text + "\n", encoding="utf-8")


def is_written(folder: str | os.PathLike[str], info: SnapshotInfo) -> bool:
    """Whether the checkpoint is there already, made of the same."""
    path = Path(folder) / folder_name(info.epoch)
    try:
        found = Snapshot.open(path).info
    except FeatureError:
        return False
    return found.made == info.made and found.epoch == info.epoch


class Snapshot:
    """One checkpoint's features, opened. ``tokens`` gives those of rows, padded."""

    def __init__(self, path: Path, info: SnapshotInfo, rows: pa.Table):
        self.path, self.info = path, info
        self.ids: list[str] = rows["id"].to_pylist()
        self.groups = rows["group"].to_numpy()
        self._starts = {side: rows[f"{side}_start"].to_numpy() for side in SIDES}
        self.counts = {side: rows[f"{side}_count"].to_numpy() for side in SIDES}

    @classmethod
    def open(cls, path: Path) -> Snapshot:
        """Raises FeatureError when it is missing or damaged."""
        try:
            info = SnapshotInfo.model_validate_json((path / SNAPSHOT).read_bytes())
            snapshot = cls(path, info, pq.read_table(path / ROWS))
        except (ValidationError, pa.ArrowInvalid, OSError, KeyError) as error:
            raise FeatureError(f"{path} is missing or damaged ({str(error).splitlines()[0]}): {_AGAIN}") from error
        for side in SIDES:
            expected = {side: int(snapshot.counts[side].sum()), f"{side}_pooled": len(snapshot.ids)}
            for name, rows in expected.items():
                if snapshot.arrays[name].shape != (rows, info.width):
                    raise FeatureError(f"{path}/{name}.npy is {snapshot.arrays[name].shape}, not {rows} rows: {_AGAIN}")
        return snapshot

    def verify(self) -> None:
        """Read everything against its checksums. Raises FeatureError."""
        from pyarrow.fs import LocalFileSystem

        for name, expected in self.info.checksums.items():
            if sha256_file(LocalFileSystem(), str(self.path / name)) != expected:
                raise FeatureError(f"{self.path}/{name} has changed since it was written: {_AGAIN}")

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        found = {}
        for name in (*SIDES, *(f"{side}_pooled" for side in SIDES)):
            try:
                found[name] = np.load(self.path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise FeatureError(f"{self.path}/{name}.npy cannot be read ({error}): {_AGAIN}") from error
        return found

    def tokens(self, side: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens float16 [R, L, D], whose padding is arbitrary, and their mask bool [R, L]."""
        counts, array = self.counts[side][rows], self.arrays[side]
        places = np.arange(counts.max())
        mask = places < counts[:, None]
        where = self._starts[side][rows][:, None] + np.minimum(places, counts[:, None] - 1)
        return array[where], mask


_AGAIN = "delete the folder, and the next 'signatlas train' makes it again"


def read_info(folder: Path) -> TrajectoriesInfo:
    """Raises FeatureError when there are none or they are damaged."""
    try:
        return TrajectoriesInfo.model_validate_json((folder / INFO).read_bytes())
    except FileNotFoundError as error:
        raise FeatureError(
            f"no trajectories at {folder}: name the 'trajectories' folder of a reference run, or a run that selects"
        ) from error
    except (ValidationError, OSError) as error:
        raise FeatureError(f"{folder}/{INFO} is damaged ({str(error).splitlines()[0]}): {_AGAIN}") from error
