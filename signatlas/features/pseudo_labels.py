"""Pseudo-labels: segments from a classifier's scores of sliding windows (CiCo, domain-aware encoder)."""

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
    """A predicted sign: frames ``start`` (inclusive) to ``end`` (exclusive), and the score of its best window."""

    label: int
    start: int
    end: int
    score: float

    @property
    def center(self) -> float:
        return (self.start + self.end) / 2


@dataclass(frozen=True)
class PseudoLabel:
    """A segment of the clip ``id`` with the name of its class."""

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
    """Return the segments of one video, by start, from its windows' best score [W], first frame [W] and best class [W].

    Windows that score above ``threshold`` are processed class by class, the best first. A window that starts at most
    ``merge`` frames from the first window of the nearest segment joins it; at most ``suppress`` frames, it is dropped;
    otherwise it starts a new segment. (CiCo's released code adds every window to merge to the class's first segment;
    here it joins the nearest one.)
    """
    segments: list[Segment] = []
    candidates = np.flatnonzero(np.asarray(scores) > threshold)
    for label in np.unique(classes[candidates]):
        of_class = candidates[classes[candidates] == label]
        of_class = of_class[np.argsort(-scores[of_class], kind="stable")]
        seeds: list[int] = []  # first frame of each segment's best window
        members: list[list[int]] = []  # first frames of all windows of each segment
        for start in starts[of_class].tolist():
            distances = [abs(start - other) for other in seeds]
            nearest = int(np.argmin(distances)) if distances else -1
            if nearest < 0 or distances[nearest] > suppress:
                seeds.append(start)
                members.append([start])
            elif distances[nearest] <= merge:
                members[nearest].append(start)
        best = {start: float(score) for start, score in zip(starts[of_class].tolist(), scores[of_class], strict=True)}
        segments += [
            Segment(int(label), min(frames), max(frames) + window, best[seed])
            for seed, frames in zip(seeds, members, strict=True)
        ]
    return sorted(segments, key=lambda segment: (segment.start, segment.label))


def write(folder: str | os.PathLike[str], labels: Iterable[PseudoLabel]) -> Path:
    """Write segments.parquet: `id, class, start, end, score`."""
    rows = list(labels)
    target = Path(folder) / FILE
    table = pa.table(
        {
            "id": pa.array([row.id for row in rows], pa.string()),
            "class": pa.array([row.name for row in rows], pa.string()),
            "start": pa.array([row.start for row in rows], pa.int32()),
            "end": pa.array([row.end for row in rows], pa.int32()),
            "score": pa.array([row.score for row in rows], pa.float32()),
        }
    )
    pq.write_table(table, target, compression="zstd")
    return target


def read(folder: str | os.PathLike[str]) -> list[PseudoLabel]:
    """Return the pseudo-labels in ``folder``. Raises FeatureError if the file is missing or damaged."""
    source = Path(folder) / FILE
    try:
        columns: list[list[Any]] = [
            pq.read_table(source)[name].to_pylist() for name in ("id", "class", "start", "end", "score")
        ]
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise FeatureError(f"{source} cannot be read ({reason}): create it with 'signatlas spot'") from error
    return [PseudoLabel(*row) for row in zip(*columns, strict=True)]
