"""Many prepared clips in memory, cut into batches of fixed length without a loop over clips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from signatlas.corpus.format import Clip
from signatlas.pose.features import POINT_SETS
from signatlas.pose.normalize import fill, normalize


def aspect_of(
    source: str | None, width: int | None, height: int | None, by_source: Mapping[str, float]
) -> float | None:
    """width/height of a picture where known, else what ``by_source`` says of its source."""
    return width / height if width and height else by_source.get(source or "")


def clip_aspect(clip: Clip, by_source: Mapping[str, float]) -> float | None:
    """:func:`aspect_of` a clip."""
    return aspect_of(clip.source, clip.width, clip.height, by_source)


class PreparedClips:
    """Normalized, filled clips of one point set in one flat array: ``coordinates`` float32 [frames, P, 3]."""

    def __init__(self, poses: Iterable[tuple[np.ndarray, float | None]], points: str):
        chosen = POINT_SETS[points]
        prepared = [fill(normalize(pose, aspect)[:, chosen]) for pose, aspect in poses]
        self.lengths = np.array([len(p.coordinates) for p in prepared], np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        self.coordinates = np.concatenate([p.coordinates for p in prepared])
        self.present = np.concatenate([p.present for p in prepared])

    @classmethod
    def from_clips(cls, clips: Iterable[Clip], points: str, by_source: Mapping[str, float]) -> PreparedClips:
        return cls(((c.poses, clip_aspect(c, by_source)) for c in clips), points)

    def __len__(self) -> int:
        return len(self.lengths)

    def even_times(self, indices: np.ndarray, frames: int) -> np.ndarray:
        """Fractional frame positions [B, frames] spread evenly over each clip."""
        return np.linspace(0.0, 1.0, frames)[None] * (self.lengths[indices] - 1)[:, None]

    def at(self, indices: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates [B, F, P, 3] and presence [B, F, P] of clips at fractional ``times`` [B, F]."""
        last = (self.lengths[indices] - 1)[:, None]
        clipped = np.clip(times, 0, last)
        low = np.floor(clipped).astype(np.int64)
        high = np.minimum(low + 1, last)
        weight = (clipped - low).astype(np.float32)[..., None, None]
        start = self.starts[indices][:, None]
        coordinates = self.coordinates[start + low] * (1 - weight) + self.coordinates[start + high] * weight
        return coordinates, self.present[start + np.round(clipped).astype(np.int64)]
