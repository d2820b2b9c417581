"""From a classifier's scores of sliding windows to labeled segments (CiCo, the domain-aware encoder)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from signatlas.errors import FeatureError

FILE = "segments.parquet"


@dataclass(frozen=True)
class Segment:
    """A sign that a classifier believes to see: frames ``start`` to before ``end``, and its best window's score."""

    label: int
    start: int
    end: int
    score: float

    @property
    def center(self) -> float:
        return (self.start + self.end) / 2


@dataclass(frozen=True)
class Found:
    """A segment of the clip ``id``, its class by name."""

    id: str
    name: str
    start: int
    end: int
    score: float


def greedy_segments(
    scores: np.ndarray,
    starts: np.ndarray,
    classes: np.ndarray,
    *,
    window: int = 16,
    threshold: float = 0.6,
    merge: int = 3,
    suppress: int = 24,
) -> list[Segment]:
    """Segments of one video from its windows' best score [W], first frame [W] and best class [W].

    Windows that score above ``threshold`` are taken class by class, the best first. One that starts at most ``merge``
    frames from the opening window of a segment joins it; at most ``suppress`` frames, it is dropped; farther from all,
    it opens a segment of its own. (CiCo's released code joins every such window to the class's first segment,
    whichever it lies at; here it joins the one it lies at.) In order of their starts.
    """
    found: list[Segment] = []
    kept = np.flatnonzero(np.asarray(scores) > threshold)
    for label in np.unique(classes[kept]):
        mine = kept[classes[kept] == label]
        mine = mine[np.argsort(-scores[mine], kind="stable")]
        opened: list[int] = []  # first frame of each segment's opening window, and all windows that joined it
        joined: list[list[int]] = []
        for start in starts[mine].tolist():
            distances = [abs(start - other) for other in opened]
            nearest = int(np.argmin(distances)) if distances else -1
            if nearest < 0 or distances[nearest] > suppress:
                opened.append(start)
                joined.append([start])
            elif distances[nearest] <= merge:
                joined[nearest].append(start)
        best = {start: float(score) for start, score in zip(starts[mine].tolist(), scores[mine], strict=True)}
        found += [
            Segment(int(label), min(members), max(members) + window, best[first])
            for first, members in zip(opened, joined, strict=True)
        ]
    return sorted(found, key=lambda segment: (segment.start, segment.label))


def write(folder: str | os.PathLike[str], found: Iterable[Found]) -> Path:
    """Write segments.parquet: `id, class, start, end, score`."""
    rows = list(found)
    target = Path(folder) / FILE
    table = pa.table(
        {
            "id": pa.array([f.id for f in rows], pa.string()),
            "class": pa.array([f.name for f in rows], pa.string()),
            "start": pa.array([f.start for f in rows], pa.int32()),
            "end": pa.array([f.end for f in rows], pa.int32()),
            "score": pa.array([f.score for f in rows], pa.float32()),
        }
    )
    pq.write_table(table, target, compression="zstd")
    return target


def read(folder: str | os.PathLike[str]) -> list[Found]:
    """What :func:`write` wrote. Raises FeatureError when it is missing or damaged."""
    source = Path(folder) / FILE
    try:
        columns: list[list[Any]] = [
            pq.read_table(source)[name].to_pylist() for name in ("id", "class", "start", "end", "score")
        ]
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise FeatureError(f"{source} cannot be read ({reason}): make it with 'signatlas spot'") from error
    return [Found(*row) for row in zip(*columns, strict=True)]
