"""Public corpora kept as MP_Data/<label>/<n>/<frame>.npy of 258 values, or as one .npz of the same recordings."""

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
from signatlas.corpus.sources.archive import Archive, Track, find
from signatlas.corpus.sources.holistic_keypoints import to_poses
from signatlas.corpus.splits import with_splits
from signatlas.errors import CorpusError, PoseError

FRAME = re.compile(r"(?:^|.*/)MP_Data/([^/]+)/(\d+)/(\d+)\.npy")


@dataclass(frozen=True)
class Recordings:
    """What tells one such corpus from another."""

    name: str
    label: str  # a label that only this corpus has, to know its checkout by
    signer: str | None
    gloss: Callable[[str], str | None]  # of a label; None for a label that is no sign


def find_mirror(recordings: Recordings, mirror: Path) -> Path | None:
    """The .npz, zip or checkout in ``mirror``, or None."""
    packed = f"{recordings.name}.npz"
    for candidate in (mirror, mirror / packed, mirror / recordings.name / packed):
        if candidate.name == packed and candidate.is_file():
            return candidate
    return find(mirror, f"MP_Data/{recordings.label}")


def read(recordings: Recordings, path: Path, track: Track) -> tuple[list[Clip], str]:
    """Every clip that has a point, with splits, and a digest: sha256 over the recordings' (name, sha256) pairs.

    Values are rounded to float16, as the .npz holds them, so that every source gives the same corpus.
    """
    try:
        names, load = _from_npz(path) if path.suffix == ".npz" else _from_frames(path)
        digest = hashlib.sha256()
        clips = []
        for name in track(names):
            values = np.ascontiguousarray(load(name), "<f2")
            digest.update(f"{name}\t{hashlib.sha256(values.tobytes()).hexdigest()}\n".encode())
            if values.any():  # a recording with nobody in view holds nothing to learn from
                clips.append(_clip(recordings, name, values))
    except (ValueError, KeyError, OSError, PoseError) as error:
        raise CorpusError(f"{path} cannot be read as {recordings.name} ({error}); get it again") from error
    if not clips:
        raise CorpusError(f"{path} holds no recording of {recordings.name}")
    return with_splits(clips), digest.hexdigest()


def _clip(recordings: Recordings, name: str, values: np.ndarray) -> Clip:
    label = name.rpartition("/")[0]
    gloss = recordings.gloss(label)
    poses, visibility = to_poses(values)
    return Clip(
        id=f"{recordings.name}/{name}",
        split="train",
        poses=poses,
        visibility=visibility,
        sign_language="ase",
        source=recordings.name,
        signer=recordings.signer,
        gloss=gloss,
        texts=(("en", gloss.replace("-", " ")),) if gloss else (),
    )


def _order(name: str) -> tuple[str, int]:
    label, _, number = name.rpartition("/")
    return label, int(number)


def _from_npz(path: Path) -> tuple[list[str], Callable[[str], np.ndarray]]:
    with np.load(path, allow_pickle=False) as packed:
        values, labels, numbers = packed["X"], packed["Y"], packed["S"]
    row = {f"{label}/{number}": i for i, (label, number) in enumerate(zip(labels, numbers, strict=True))}
    return sorted(row, key=_order), lambda name: values[row[name]]


def _from_frames(path: Path) -> tuple[list[str], Callable[[str], np.ndarray]]:
    archive = Archive(path)
    frames: dict[str, dict[int, str]] = defaultdict(dict)
    for name in archive.names:
        if found := FRAME.fullmatch(name):
            label, number, frame = found.groups()
            frames[f"{unicodedata.normalize('NFC', label)}/{number}"][int(frame)] = name

    def load(name: str) -> np.ndarray:
        held = frames[name]
        return np.stack([np.load(io.BytesIO(archive.read(held[f])), allow_pickle=False) for f in sorted(held)])

    return sorted(frames, key=_order), load
