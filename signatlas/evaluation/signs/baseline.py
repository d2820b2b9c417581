"""The baseline that learns nothing: nearest neighbor on normalized keypoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from signatlas.evaluation.signs.space import Space, embed
from signatlas.pose import skeleton as sk

if TYPE_CHECKING:
    from signatlas.corpus.format import Clip

# Legs do not sign, and z is missing in 2-D corpora.
POINTS = np.r_[0 : sk.RIGHT_WRIST + 1, sk.LEFT_HAND, sk.RIGHT_HAND]


@dataclass(frozen=True)
class KeypointEncoder:
    """Clips as vectors float32 [N, frames * 59 * 2]: normalized, gaps interpolated, resampled, x and y.

    What a clip never shows is zero. Compare by Euclidean distance: see :func:`keypoint_space`.
    """

    frames: int = 32
    aspect: Mapping[str, float] = field(default_factory=dict)  # by source, as the model beside it assumes

    def embed_clips(self, clips: Iterable[Clip], *, mirror: bool = False, batch_size: int = 256) -> np.ndarray:
        return np.stack([self._vector(clip, mirror) for clip in clips])

    def _vector(self, clip: Clip, mirror: bool) -> np.ndarray:
        from signatlas.pose import normalize as norm
        from signatlas.pose.prepared_clips import clip_aspect
        from signatlas.pose.resample import fixed_length

        points = norm.normalize(clip.poses, clip_aspect(clip, self.aspect))
        points = norm.mirror(points) if mirror else points
        return fixed_length(norm.fill(points[:, POINTS]).coordinates, self.frames)[..., :2].reshape(-1)


def keypoint_space(clips: Iterable[Clip], *, mirror: bool = False, aspect: Mapping[str, float] | None = None) -> Space:
    """The space of :class:`KeypointEncoder`, searched by Euclidean distance."""
    return replace(embed(KeypointEncoder(aspect=aspect or {}), clips, mirror=mirror), similarity="euclidean")
