"""Import keypoints in the 258-value layout of MediaPipe Holistic, from a folder of .npy or .npz files.

The layout of a frame: 33 body points x (x, y, z, visibility), then 21 left and 21 right hand points x (x, y, z).
"""

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

WIDTH = NUM_BODY * 4 + 2 * NUM_HAND * 3
SUFFIXES = (".npy", ".npz")


def to_poses(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert [frames, 258] to poses float32 [frames, 75, 3] and visibility float16 [frames, 75].

    A point whose x, y and z are all zero was not detected; its coordinates and visibility become NaN. Hand points have
    no visibility in this layout and get 1 if detected. Raises PoseError for a wrong width, no frames, infinite values
    or no detected point.
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
        raise PoseError("no detected point: every value is zero or NaN")
    return poses, visibility


@dataclass(frozen=True)
class Recording:
    """A recording in a folder: one file of [frames, 258], or one file of [258] per frame."""

    name: str  # path below the folder, without suffix
    files: tuple[Path, ...]
    label: str
    signer: str | None = None


def list_recordings(folder: Path, labels: Path | None = None) -> list[Recording]:
    """Return the recordings of a folder, from ``labels`` (CSV: path,label[,signer]) or from the folder layout.

    In the folder layout ``<label>/<name>.npy|npz`` is a recording, and so is each folder ``<label>/<n>/`` of
    ``<frame>.npy``. Raises CorpusError when there is no recording, or when the CSV lists a missing file.
    """
    if not folder.is_dir():
        raise CorpusError(f"no folder at {folder}: give the folder that contains <label>/<name>.npy")
    recordings = _from_csv(folder, labels) if labels else _from_layout(folder)
    if not recordings:
        raise CorpusError(f"{folder} is empty: no <label>/<name>.npy, .npz or <label>/<n>/<frame>.npy in it")
    return sorted(recordings, key=lambda r: r.name)


def _from_layout(folder: Path) -> list[Recording]:
    whole_files: list[Recording] = []
    frame_files: dict[Path, list[Path]] = defaultdict(list)
    for file in sorted(f for f in folder.rglob("*") if f.suffix in SUFFIXES):
        parts = file.relative_to(folder).parts
        if len(parts) == 2:
            whole_files.append(Recording(f"{parts[0]}/{file.stem}", (file,), parts[0]))
        elif len(parts) == 3:
            frame_files[file.parent].append(file)
        else:
            raise CorpusError(f"{file}: expected <label>/<name>{file.suffix} or <label>/<n>/<frame>{file.suffix}")
    return whole_files + [
        Recording(path.relative_to(folder).as_posix(), tuple(sorted(files, key=_natural_order)), path.parent.name)
        for path, files in frame_files.items()
    ]


def _natural_order(file: Path) -> list[tuple[int, str]]:
    """Return a sort key by which frame 9 comes before frame 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", file.stem)]


def _from_csv(folder: Path, labels: Path) -> list[Recording]:
    if not labels.is_file():
        raise CorpusError(f"no labels at {labels}: give a CSV with the columns path,label and optionally signer")
    with labels.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    recordings = []
    for line, row in enumerate(rows, start=2):
        if not row.get("path") or not row.get("label"):
            raise CorpusError(f"{labels} line {line}: no path or no label; its first line must be path,label[,signer]")
        path = folder / row["path"]
        files = tuple(sorted(path.glob("*.npy"), key=_natural_order)) if path.is_dir() else (path,) * path.is_file()
        if not files:
            raise CorpusError(f"{labels} line {line}: no keypoints at {path}")
        name = row["path"].strip("/").removesuffix(path.suffix if path.suffix in SUFFIXES else "")
        recordings.append(Recording(name, files, row["label"], row.get("signer") or None))
    return recordings


def load(recording: Recording) -> np.ndarray:
    """Return the values [frames, 258] of a recording. Raises PoseError for files of other shapes."""
    arrays = [_load_array(file) for file in recording.files]
    if len(arrays) == 1 and arrays[0].ndim != 1:
        return arrays[0]
    if len({a.shape for a in arrays}) != 1 or arrays[0].ndim != 1:
        raise PoseError(f"its files have shapes {sorted({a.shape for a in arrays})}, expected [258] for each frame")
    return np.stack(arrays)


def _load_array(file: Path) -> np.ndarray:
    try:
        content = np.load(file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            if len(content.files) != 1:
                raise PoseError(f"has the arrays {', '.join(content.files)}, expected a single one of [frames, 258]")
            return content[content.files[0]]
    except (ValueError, OSError, EOFError) as error:
        raise PoseError(f"is not a readable numpy file ({error})") from error


def clips(
    recordings: Iterable[Recording],
    *,
    name: str,
    sign_language: str,
    text_language: str | None = None,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    on_empty: Callable[[Recording], None] | None = None,
) -> Iterator[Clip]:
    """Yield a clip per recording; its label is its gloss and, if ``text_language`` is given, also its text.

    With ``on_empty`` recordings without frames or points are passed to it and skipped. Raises CorpusError, with the
    file, for other unusable recordings.
    """
    width, height = size or (None, None)
    for recording in recordings:
        try:
            values = load(recording)
            if on_empty and not np.nan_to_num(values).any():
                on_empty(recording)
                continue
            poses, visibility = to_poses(values)
        except PoseError as error:
            path = recording.files[0] if len(recording.files) == 1 else recording.files[0].parent
            raise CorpusError(f"{path}: {error}") from error
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
