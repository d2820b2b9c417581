"""Motion of both hands relative to the nose, in palm lengths."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from signatlas.pose import skeleton as sk

HANDS = (sk.LEFT_HAND, sk.RIGHT_HAND)
LEFT, RIGHT = 0, 1
MIDDLE_KNUCKLE = 9
MIN_SEEN = 0.3  # a hand seen in a smaller share of a sign's frames is not part of the sign
LONGEST_GAP = 8  # frames without a hand that are interpolated


@dataclass(frozen=True)
class Motion:
    """Motion of the left and the right hand, without NaN.

    ``wrists`` [T, 2, 2] relative to the nose, ``shapes`` [T, 2, 21, 2] relative to the wrist. ``seen`` [T, 2] marks
    frames in which a hand was detected; in other frames its values are interpolated, or zero if it was never detected.
    x points right and y down, as in the picture.
    """

    wrists: np.ndarray
    shapes: np.ndarray
    seen: np.ndarray

    def __len__(self) -> int:
        return len(self.wrists)

    def has(self, hand: int) -> bool:
        return bool(self.seen[:, hand].any())

    def cut(self, first: int, end: int) -> Motion:
        return Motion(self.wrists[first:end], self.shapes[first:end], self.seen[first:end])

    def mirrored(self) -> Motion:
        """Return the mirrored motion, with left and right hand exchanged."""
        flip = np.array([-1.0, 1.0])
        return Motion(self.wrists[:, ::-1] * flip, self.shapes[:, ::-1] * flip, self.seen[:, ::-1])

    def at(self, times: np.ndarray) -> Motion:
        """Interpolate linearly at fractional frame numbers ``times`` [N], clamped to the first and last frame."""
        low, weight = _weights(times, len(self))
        high = np.minimum(low + 1, len(self) - 1)
        nearest = np.where(weight < 0.5, low, high)
        return Motion(
            _interpolate(self.wrists[low], self.wrists[high], weight),
            _interpolate(self.shapes[low], self.shapes[high], weight),
            self.seen[nearest],
        )

    def smoothed(self, sigma: float) -> Motion:
        """Return the motion smoothed by a Gaussian of ``sigma`` frames, with repeated edge frames."""
        from scipy.ndimage import gaussian_filter1d

        def low_pass(values: np.ndarray) -> np.ndarray:
            return gaussian_filter1d(values, sigma, axis=0, mode="nearest")

        return Motion(low_pass(self.wrists), low_pass(self.shapes), self.seen)


def hand_is_used(motion: Motion, hand: int) -> bool:
    """Return whether a hand is part of a sign."""
    return bool(motion.seen[:, hand].mean() > MIN_SEEN)


def _weights(times: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    clamped = np.clip(times, 0, length - 1)
    low = np.floor(clamped).astype(int)
    return low, clamped - low


def _interpolate(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    share = weight.reshape(-1, *[1] * (a.ndim - 1))
    return a * (1 - share) + b * share


def from_poses(poses: np.ndarray, aspect: float | None = None) -> Motion | None:
    """Return the motion in ``poses`` [T, 75, 3], in units of the median palm; None without a nose or a hand.

    ``aspect`` is width/height, if known.
    """
    points = poses[..., :2].astype(np.float64)
    points[..., 0] *= aspect or 1.0
    nose = points[:, sk.NOSE]
    hands = np.stack([points[:, hand] for hand in HANDS], axis=1)
    detected = np.isfinite(hands).all((-1, -2))
    if not detected.any() or not np.isfinite(nose).all(-1).any():
        return None
    palms = np.linalg.norm(hands[:, :, MIDDLE_KNUCKLE] - hands[:, :, 0], axis=-1)[detected]
    palm = float(np.median(palms))
    if palm <= 0:
        return None
    hands = (hands - np.nanmedian(nose, axis=0)) / palm
    filled, seen = zip(*(_fill(hands[:, hand], detected[:, hand]) for hand in (LEFT, RIGHT)), strict=True)
    hand_points = np.stack(filled, axis=1)
    wrists = hand_points[:, :, 0]
    return Motion(wrists, hand_points - wrists[:, :, None], np.stack(seen, axis=1))


def _fill(hand: np.ndarray, detected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate gaps of a hand [T, 21, 2]; it counts as seen in gaps of at most ``LONGEST_GAP`` frames."""
    times = np.flatnonzero(detected)
    if not len(times):
        return np.zeros_like(hand), detected
    low, weight = _weights(np.interp(np.arange(len(hand)), times, np.arange(len(times))), len(times))
    known = hand[times]
    filled = _interpolate(known[low], known[np.minimum(low + 1, len(times) - 1)], weight)
    seen = detected.copy()
    for before, after in pairwise(times):
        if after - before <= LONGEST_GAP + 1:
            seen[before:after] = True
    return filled, seen


def to_poses(motion: Motion, nose: np.ndarray, palm: float) -> np.ndarray:
    """Return poses, float32 [T, 75, 3], in image units of a square picture, with ``nose`` [T, 2] and ``palm`` length.

    z is NaN, and so is a hand that is not seen or whose wrist is outside the picture.
    """
    poses = np.full((len(motion), sk.NUM_POINTS, 3), np.nan, np.float32)
    poses[:, sk.NOSE, :2] = nose
    for side, hand in enumerate(HANDS):
        points = nose[:, None] + palm * (motion.wrists[:, side, None] + motion.shapes[:, side])
        inside = ((points[:, 0] >= 0) & (points[:, 0] <= 1)).all(-1)
        poses[:, hand, :2] = np.where((motion.seen[:, side] & inside)[:, None, None], points, np.nan)
    return poses
