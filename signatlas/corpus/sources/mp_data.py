"""Read public corpora of MP_Data/<label>/<n>/<frame>.npy with 258 values, or an .npz of the same recordings."""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from signatlas.corpus.format import Clip
from signatlas.corpus.sources.archive import Archive, find
from signatlas.corpus.sources.base import Track
from signatlas.corpus.sources.holistic_keypoints import to_poses
from signatlas.corpus.splits import with_splits
from signatlas.errors import CorpusError, PoseError

FRAME = re.compile(r"(?:^|.*/)MP_Data/([^/]+)/(\d+)/(\d+)\.npy")


@dataclass(frozen=True)
class Layout:
    """Name and labels of one such corpus."""

    name: str
    marker: str  # a label that only this corpus has, which identifies a checkout
    signer: str | None
    gloss: Callable[[str], str | None]  # of a label; None for a label that is not a sign


def find_mirror(layout: Layout, mirror: Path) -> Path | None:
    """Return the .npz, zip or checkout of the corpus in ``mirror``, or None."""
    packed = f"{layout.name}.npz"
    for candidate in (mirror, mirror / packed, mirror / layout.name / packed):
        if candidate.name == packed and candidate.is_file():
            return candidate
    return find(mirror, f"MP_Data/{layout.marker}")


def read(layout: Layout, path: Path, track: Track) -> tuple[list[Clip], str]:
    """Return the clips with at least one point, with splits, and a sha256 over the (name, sha256) of all recordings.

    Values are rounded to float16, the precision of the .npz, so that both layouts give the same corpus.
    """
    try:
        names, load = _from_npz(path) if path.suffix == ".npz" else _from_frames(path)
        digest = hashlib.sha256()
        clips = []
        for name in track(names):
            values = np.ascontiguousarray(load(name), "<f2")
            digest.update(f"{name}\t{hashlib.sha256(values.tobytes()).hexdigest()}\n".encode())
            if values.any():  # all zero: no person detected
                clips.append(_clip(layout, name, values))
    except (ValueError, KeyError, OSError, PoseError) as error:
        raise CorpusError(f"{path} cannot be read as {layout.name} ({error}): download it again") from error
    if not clips:
        raise CorpusError(f"{path} contains no recording of {layout.name}")
    return with_splits(clips), digest.hexdigest()


def _clip(layout: Layout, name: str, values: np.ndarray) -> Clip:
    label = name.rpartition("/")[0]
    gloss = layout.gloss(label)
    poses, visibility = to_poses(values)
    return Clip(
        id=f"{layout.name}/{name}",
        split="train",
        poses=poses,
        visibility=visibility,
        sign_language="ase",
        source=layout.name,
        signer=layout.signer,
        gloss=gloss,
        texts=(("en", gloss.replace("-", " ")),) if gloss else (),
    )


def _sort_key(name: str) -> tuple[str, int]:
    label, _, number = name.rpartition("/")
    return label, int(number)


def _from_npz(path: Path) -> tuple[list[str], Callable[[str], np.ndarray]]:
    with np.load(path, allow_pickle=False) as packed:
        values, labels, numbers = packed["X"], packed["Y"], packed["S"]
    index = {f"{label}/{number}": i for i, (label, number) in enumerate(zip(labels, numbers, strict=True))}
    return sorted(index, key=_sort_key), lambda name: values[index[name]]


def _from_frames(path: Path) -> tuple[list[str], Callable[[str], np.ndarray]]:
    archive = Archive(path)
    frames: dict[str, dict[int, str]] = defaultdict(dict)
    for name in archive.names:
        if match := FRAME.fullmatch(name):
            label, number, frame = match.groups()
            frames[f"{unicodedata.normalize('NFC', label)}/{number}"][int(frame)] = name

    def load(name: str) -> np.ndarray:
        files = frames[name]
        return np.stack([np.load(io.BytesIO(archive.read(files[f])), allow_pickle=False) for f in sorted(files)])

    return sorted(frames, key=_sort_key), load
