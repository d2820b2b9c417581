"""Token features of a reference model's checkpoints on disk: a token cache a checkpoint, memory-mapped float16.

`epoch_0005/` holds `visual.npy` and `text.npy` [tokens, width], tokens of unit length, clip after clip; `rows.parquet`
(`id, group, visual_start, visual_count, text_start, text_count`; identical texts share a group); `visual_pooled.npy`
and `text_pooled.npy` [clips, width], one vector each; `snapshot.json`. `trajectories.json` lists the checkpoints that
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
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from signatlas.errors import FeatureError
from signatlas.files import folder_atomically, sha256_file, write_text_atomically
from signatlas.models.dual_encoder.config import SimilarityConfig

INFO, CACHE_INFO, ROWS = "trajectories.json", "snapshot.json", "rows.parquet"
SIDES = ("visual", "text")
_HEADER = 128  # bytes before the values of a .npy file, enough for any shape
_RECOMPUTE = "delete the folder, and the next 'signatlas train' computes it again"


class TokenCacheInfo(BaseModel):
    """Content of snapshot.json. ``sources`` are digests of all inputs: model, clips, corpus, features."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    epoch: int  # finished epochs, from 1
    width: int
    sources: dict[str, str] = Field(alias="made")
    checksums: dict[str, str] = {}


class TrajectoriesInfo(BaseModel):
    """Content of trajectories.json. ``moments``: mean and deviation of a sample of each checkpoint's similarities."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    epochs: tuple[int, ...]
    similarity: SimilarityConfig
    corpus: str
    sources: tuple[dict[str, str], ...] = Field(alias="snapshots")  # of each token cache
    moments: dict[str, tuple[tuple[float, float], ...]] = {}


class EncodedClips(NamedTuple):
    """Clips and their texts: unit tokens [sum, D], token counts [B], one vector [B, D] each."""

    visual: np.ndarray
    visual_counts: np.ndarray
    visual_pooled: np.ndarray
    text: np.ndarray
    text_counts: np.ndarray
    text_pooled: np.ndarray


class TokenCache:
    """Token features of one checkpoint, opened from disk."""

    def __init__(self, path: Path, info: TokenCacheInfo, rows: pa.Table):
        self.path, self.info = path, info
        self.ids: list[str] = rows["id"].to_pylist()
        self.groups = rows["group"].to_numpy()
        self._starts = {side: rows[f"{side}_start"].to_numpy() for side in SIDES}
        self.counts = {side: rows[f"{side}_count"].to_numpy() for side in SIDES}

    @classmethod
    def open(cls, path: Path) -> TokenCache:
        """Open a folder ``epoch_NNNN``. Raises FeatureError if it is missing or damaged."""
        try:
            info = TokenCacheInfo.model_validate_json((path / CACHE_INFO).read_bytes())
            cache = cls(path, info, pq.read_table(path / ROWS))
        except (ValidationError, pa.ArrowInvalid, OSError, KeyError) as error:
            raise FeatureError(f"{path} is missing or damaged ({str(error).splitlines()[0]}): {_RECOMPUTE}") from error
        for side in SIDES:
            expected = {side: int(cache.counts[side].sum()), f"{side}_pooled": len(cache.ids)}
            for name, count in expected.items():
                shape = cache.arrays[name].shape
                if shape != (count, info.width):
                    raise FeatureError(
                        f"{path}/{name}.npy has shape {shape}, expected {(count, info.width)}: {_RECOMPUTE}"
                    )
        return cache

    def verify(self) -> None:
        """Compare all files with their checksums. Raises FeatureError."""
        from pyarrow.fs import LocalFileSystem

        for name, expected in self.info.checksums.items():
            if sha256_file(LocalFileSystem(), str(self.path / name)) != expected:
                raise FeatureError(f"{self.path}/{name} does not match its checksum: {_RECOMPUTE}")

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Memory-mapped arrays: tokens [sum, D] and pooled vectors [clips, D] of both sides."""
        arrays = {}
        for name in (*SIDES, *(f"{side}_pooled" for side in SIDES)):
            try:
                arrays[name] = np.load(self.path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise FeatureError(f"{self.path}/{name}.npy cannot be read ({error}): {_RECOMPUTE}") from error
        return arrays

    def tokens(self, side: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens float16 [R, L, D], with arbitrary padding, and their mask bool [R, L]."""
        counts, array = self.counts[side][rows], self.arrays[side]
        positions = np.arange(counts.max())
        mask = positions < counts[:, None]
        index = self._starts[side][rows][:, None] + np.minimum(positions, counts[:, None] - 1)
        return array[index], mask


def write_token_cache(
    folder: str | os.PathLike[str],
    info: TokenCacheInfo,
    ids: Sequence[str],
    groups: Sequence[int] | np.ndarray,
    parts: Iterable[EncodedClips],
) -> None:
    """Write one checkpoint's features atomically. ``parts`` together are in the order of ``ids``.

    Raises FeatureError for values that are not finite and parts that do not match ``ids``.
    """
    from pyarrow.fs import LocalFileSystem

    with folder_atomically(Path(folder) / folder_name(info.epoch), overwrite=True) as partial:
        names = [*SIDES, *(f"{side}_pooled" for side in SIDES)]
        writers = {name: _ArrayWriter(partial / f"{name}.npy", info.width) for name in names}
        counts: dict[str, list[np.ndarray]] = {side: [] for side in SIDES}
        for part in parts:
            for name in names:
                writers[name].append(getattr(part, name))
            for side in SIDES:
                counts[side].append(getattr(part, f"{side}_counts"))
        for writer in writers.values():
            writer.close()
        columns: dict[str, Any] = {"id": list(ids), "group": np.asarray(groups, np.int64)}
        for side in SIDES:
            count = np.concatenate(counts[side]).astype(np.int64)
            if len(count) != len(ids) or count.sum() != writers[side].rows or (count < 1).any():
                raise FeatureError(f"{side} tokens of {len(count)} clips for {len(ids)} ids, or clips without a token")
            columns |= {f"{side}_start": np.cumsum(count) - count, f"{side}_count": count}
        pq.write_table(pa.table(columns), partial / ROWS, compression="zstd")
        checksums = {f.name: sha256_file(LocalFileSystem(), str(f)) for f in sorted(partial.iterdir())}
        text = info.model_copy(update={"checksums": checksums}).model_dump_json(indent=2, by_alias=True)
        (partial / CACHE_INFO).write_text(text + "\n", encoding="utf-8")


def is_cached(folder: str | os.PathLike[str], info: TokenCacheInfo) -> bool:
    """Return whether the checkpoint's token cache exists and has the same sources."""
    try:
        cached = TokenCache.open(Path(folder) / folder_name(info.epoch)).info
    except FeatureError:
        return False
    return cached.sources == info.sources and cached.epoch == info.epoch


def read_info(folder: Path) -> TrajectoriesInfo:
    """Read trajectories.json. Raises FeatureError if it is missing or damaged."""
    try:
        return TrajectoriesInfo.model_validate_json((folder / INFO).read_bytes())
    except FileNotFoundError as error:
        raise FeatureError(
            f"no trajectories at {folder}: name the 'trajectories' folder of a reference run, or a run that selects "
            "its batches"
        ) from error
    except (ValidationError, OSError) as error:
        raise FeatureError(f"{folder}/{INFO} is damaged ({str(error).splitlines()[0]}): {_RECOMPUTE}") from error


def write_info(folder: str | os.PathLike[str], info: TrajectoriesInfo) -> None:
    """Write trajectories.json atomically."""
    write_text_atomically(Path(folder) / INFO, info.model_dump_json(indent=2, by_alias=True) + "\n")


def folder_name(epoch: int) -> str:
    """Return the folder of a checkpoint's token cache."""
    return f"epoch_{epoch:04d}"


def digest(values: Iterable[str]) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of strings in their order."""
    sha256 = hashlib.sha256()
    for value in values:
        sha256.update(value.encode() + b"\0")
    return sha256.hexdigest()[:16]


class _ArrayWriter:
    """Writer of a .npy file of float16 rows whose number is not known in advance."""

    def __init__(self, path: Path, width: int):
        self.path, self.width, self.rows = path, width, 0
        self._file: BinaryIO = path.open("wb")
        self._file.write(bytes(_HEADER))

    def append(self, rows: np.ndarray) -> None:
        """Append rows [N, width]. Raises FeatureError for another width and for values that are not finite."""
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise FeatureError(f"token features have shape {rows.shape}, expected width {self.width}")
        if not np.isfinite(rows).all():
            raise FeatureError("token features are not finite: has the reference model diverged? Train it again")
        self._file.write(np.ascontiguousarray(rows, np.float16).tobytes())
        self.rows += len(rows)

    def close(self) -> None:
        """Write the header and close the file."""
        shape = f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({self.rows}, {self.width}), }}"
        magic = b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little")
        self._file.seek(0)
        self._file.write(magic + shape.ljust(_HEADER - 11).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
