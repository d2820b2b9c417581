"""Normalized clips in memory, resampled to batches of fixed length without a loop over clips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np

from signatlas.pose.features import POINT_SETS
from signatlas.pose.normalize import fill, normalize


class PoseClip(Protocol):
    """A clip as this module uses it; :class:`signatlas.corpus.format.Clip` is one."""

    @property
    def poses(self) -> np.ndarray: ...
    @property
    def source(self) -> str: ...
    @property
    def width(self) -> int | None: ...
    @property
    def height(self) -> int | None: ...


def aspect_of(
    source: str | None, width: int | None, height: int | None, by_source: Mapping[str, float]
) -> float | None:
    """Return width/height of the image if known, else that of its source in ``by_source``, else None."""
    return width / height if width and height else by_source.get(source or "")


def clip_aspect(clip: PoseClip, by_source: Mapping[str, float]) -> float | None:
    """Return :func:`aspect_of` a clip."""
    return aspect_of(clip.source, clip.width, clip.height, by_source)


class PreparedClips:
    """Normalized clips of one point set without gaps, concatenated: ``coordinates`` float32 [frames, P, 3]."""

    def __init__(self, poses: Iterable[tuple[np.ndarray, float | None]], points: str):
        point_set = POINT_SETS[points]
        prepared = [fill(normalize(pose, aspect)[:, point_set]) for pose, aspect in poses]
        self.lengths = np.array([len(p.coordinates) for p in prepared], np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        self.coordinates = np.concatenate([p.coordinates for p in prepared])
        self.present = np.concatenate([p.present for p in prepared])

    @classmethod
    def from_clips(cls, clips: Iterable[PoseClip], points: str, by_source: Mapping[str, float]) -> PreparedClips:
        """Prepare clips; ``by_source`` gives width/height of sources whose clips have no image size."""
        return cls(((c.poses, clip_aspect(c, by_source)) for c in clips), points)

    def __len__(self) -> int:
        return len(self.lengths)

    def even_times(self, indices: np.ndarray, frames: int) -> np.ndarray:
        """Return fractional frame positions [B, frames], evenly spaced over each clip."""
        return np.linspace(0.0, 1.0, frames)[None] * (self.lengths[indices] - 1)[:, None]

    def at(self, indices: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return coordinates [B, F, P, 3] and presence [B, F, P] of clips at fractional ``times`` [B, F]."""
        last = (self.lengths[indices] - 1)[:, None]
        clipped = np.clip(times, 0, last)
        low = np.floor(clipped).astype(np.int64)
        high = np.minimum(low + 1, last)
        weight = (clipped - low).astype(np.float32)[..., None, None]
        start = self.starts[indices][:, None]
        coordinates = self.coordinates[start + low] * (1 - weight) + self.coordinates[start + high] * weight
        return coordinates, self.present[start + np.round(clipped).astype(np.int64)]
