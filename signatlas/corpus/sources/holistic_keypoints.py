"""Keypoints in the 258-value layout of MediaPipe Holistic."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from signatlas.corpus.format import Clip
from signatlas.errors import CorpusError, PoseError
from signatlas.pose.skeleton import BODY, NUM_BODY, NUM_HAND, NUM_POINTS

SUFFIXES = (".npy", ".npz")


@dataclass(frozen=True)
class Recording:
    """One recording of a folder: a file of [frames, 258], or files of [258], one a frame."""

    name: str  # path below the folder, without suffix
    files: tuple[Path, ...]
    label: str
    signer: str | None = None


def recordings(folder: Path, labels: Path | None = None) -> list[Recording]:
    """What a folder holds: by ``labels`` (CSV: path,label[,signer]), or by its layout.

    ``<label>/<name>.npy|npz`` is a recording a file, ``<label>/<n>/<frame>.npy`` a recording a folder. Raises
    CorpusError when nothing is found, or when the CSV names what is not there.
    """
    if not folder.is_dir():
        raise CorpusError(f"no folder at {folder}: give the folder that holds <label>/<name>.npy")
    found = _from_csv(folder, labels) if labels else _from_layout(folder)
    if not found:
        raise CorpusError(f"{folder} is empty: no <label>/<name>.npy, .npz or <label>/<n>/<frame>.npy in it")
    return sorted(found, key=lambda r: r.name)


def _from_layout(folder: Path) -> list[Recording]:
    single: list[Recording] = []
    frames: dict[Path, list[Path]] = defaultdict(list)
    for file in sorted(f for f in folder.rglob("*") if f.suffix in SUFFIXES):
        parts = file.relative_to(folder).parts
        if len(parts) == 2:
            single.append(Recording(f"{parts[0]}/{file.stem}", (file,), parts[0]))
        elif len(parts) == 3:
            frames[file.parent].append(file)
        else:
            raise CorpusError(f"{file}: expected <label>/<name>{file.suffix} or <label>/<n>/<frame>{file.suffix}")
    return single + [
        Recording(path.relative_to(folder).as_posix(), tuple(sorted(files, key=_natural)), path.parent.name)
        for path, files in frames.items()
    ]


def _natural(file: Path) -> list[tuple[int, str]]:
    """Frame 10 comes after frame 9."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", file.stem)]


def _from_csv(folder: Path, labels: Path) -> list[Recording]:
    if not labels.is_file():
        raise CorpusError(f"no labels at {labels}: give a CSV with the columns path,label and perhaps signer")
    with labels.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    found = []
    for line, row in enumerate(rows, start=2):
        if not row.get("path") or not row.get("label"):
            raise CorpusError(f"{labels} line {line}: no path or no label; its first line must be path,label[,signer]")
        path = folder / row["path"]
        files = tuple(sorted(path.glob("*.npy"), key=_natural)) if path.is_dir() else (path,) * path.is_file()
        if not files:
            raise CorpusError(f"{labels} line {line}: no keypoints at {path}")
        name = row["path"].strip("/").removesuffix(path.suffix if path.suffix in SUFFIXES else "")
        found.append(Recording(name, files, row["label"], row.get("signer") or None))
    return found


def load(recording: Recording) -> np.ndarray:
    """[frames, 258] of a recording. Raises PoseError for a file that is not one array of that."""
    arrays = [_array(file) for file in recording.files]
    if len(arrays) == 1 and arrays[0].ndim != 1:
        return arrays[0]
    if len({a.shape for a in arrays}) != 1 or arrays[0].ndim != 1:
        raise PoseError(f"its files have shapes {sorted({a.shape for a in arrays})}, expected one of [258] a frame")
    return np.stack(arrays)


def _array(file: Path) -> np.ndarray:
    try:
        held = np.load(file, allow_pickle=False)
        if isinstance(held, np.ndarray):
            return held
        with held:
            if len(held.files) != 1:
                raise PoseError(f"holds the arrays {', '.join(held.files)}, expected one of [frames, 258]")
            return held[held.files[0]]
    except (ValueError, OSError, EOFError) as error:
        raise PoseError(f"is not a numpy file that can be read ({error})") from error


def clips(
    found: Iterable[Recording],
    *,
    name: str,
    sign_language: str,
    text_language: str | None = None,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    on_empty: Callable[[Recording], None] | None = None,
) -> Iterator[Clip]:
    """A clip for each recording; its label is its gloss, and its text when ``text_language`` is given.

    Raises CorpusError, naming the file, for a wrong width, no frames, infinite values or no point at all; with
    ``on_empty`` a recording without frames or points is handed to it and left out instead.
    """
    width, height = size or (None, None)
    for recording in found:
        try:
            values = load(recording)
            if on_empty and not np.nan_to_num(values).any():
                on_empty(recording)
                continue
            poses, visibility = to_poses(values)
        except PoseError as error:
            where = recording.files[0] if len(recording.files) == 1 else recording.files[0].parent
            raise CorpusError(f"{where}: {error}") from error
        yield Clip(
            id=f"{name}/{recording.name}",
            split="train",
            poses=poses,
            visibility=visibility,
            sign_language=sign_language,
            source=name,
            signer=recording.signer,
            gloss=recording.label,
            texts=((text_language, recording.label),) if text_language else (),
            fps=fps,
            width=width,
            height=height,
        )


WIDTH = NUM_BODY * 4 + 2 * NUM_HAND * 3


def to_poses(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[frames, 258] -> poses float32 [frames, 75, 3] and visibility float16 [frames, 75].

    A point whose x, y and z are all zero was not found: its coordinates and visibility become NaN. Body points keep
    their visibility; hands have none in this layout and get 1 where they were found. Raises PoseError for a wrong
    width, no frames, infinite values or not a single point.
    """
    if values.ndim != 2 or values.shape[1] != WIDTH:
        raise PoseError(f"shape {values.shape}, expected [frames, {WIDTH}]: 33 body x 4, 21 + 21 hand points x 3")
    if len(values) == 0:
        raise PoseError("no frames")
    values = np.asarray(values, np.float32)
    if np.isinf(values).any():
        raise PoseError("infinite values")
    body = values[:, : NUM_BODY * 4].reshape(-1, NUM_BODY, 4)
    hands = values[:, NUM_BODY * 4 :].reshape(-1, 2 * NUM_HAND, 3)
    poses = np.concatenate([body[..., :3], hands], axis=1)
    visibility = np.ones((len(values), NUM_POINTS), np.float16)
    visibility[:, BODY] = body[..., 3]
    missing = (np.nan_to_num(poses) == 0).all(axis=-1)
    poses[missing], visibility[missing] = np.nan, np.nan
    if missing.all():
        raise PoseError("not a single point: every value is zero or NaN")
    return poses, visibility
