"""Signing as motion of two hands about the nose, in palm lengths: what a composer cuts, warps and joins."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from signatlas.pose import skeleton as sk

HANDS = (sk.LEFT_HAND, sk.RIGHT_HAND)
LEFT, RIGHT = 0, 1
MIDDLE_KNUCKLE = 9
USED = 0.3  # a hand seen in less of a sign than this takes no part in it
LONGEST_GAP = 8  # frames over which a hand that was lost is taken to have moved on evenly


@dataclass(frozen=True)
class Motion:
    """``wrists`` [T, 2, 2] about the nose and ``shapes`` [T, 2, 21, 2] about the wrist; hands left, right; no NaN.

    ``seen`` [T, 2] says where a hand was really found; elsewhere its numbers are filled from the nearest frame, and
    all zero when it never was. x to the right and y downwards as in the picture.
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
        """The other hand does what this one did."""
        flip = np.array([-1.0, 1.0])
        return Motion(self.wrists[:, ::-1] * flip, self.shapes[:, ::-1] * flip, self.seen[:, ::-1])

    def at(self, times: np.ndarray) -> Motion:
        """The motion at fractional frame numbers ``times`` [N], linear between frames, held beyond the ends."""
        low, weight = _weights(times, len(self))
        high = np.minimum(low + 1, len(self) - 1)
        nearest = np.where(weight < 0.5, low, high)
        return Motion(
            _between(self.wrists[low], self.wrists[high], weight),
            _between(self.shapes[low], self.shapes[high], weight),
            self.seen[nearest],
        )

    def smoothed(self, sigma: float) -> Motion:
        """Low-passed by a Gaussian of ``sigma`` frames; a hand's first and last places stay where they are."""
        from scipy.ndimage import gaussian_filter1d

        def low_pass(values: np.ndarray) -> np.ndarray:
            return gaussian_filter1d(values, sigma, axis=0, mode="nearest")

        return Motion(low_pass(self.wrists), low_pass(self.shapes), self.seen)


def uses(motion: Motion, hand: int) -> bool:
    """Whether a hand takes part in a sign."""
    return bool(motion.seen[:, hand].mean() > USED)


def _weights(times: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    held = np.clip(times, 0, length - 1)
    low = np.floor(held).astype(int)
    return low, held - low


def _between(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    w = weight.reshape(-1, *[1] * (a.ndim - 1))
    return a * (1 - w) + b * w


def from_poses(poses: np.ndarray, aspect: float | None = None) -> Motion | None:
    """The motion in a clip [T, 75, 3], one unit its median palm; None when it has no face or no hand to measure.

    ``aspect`` is width/height where known.
    """
    points = poses[..., :2].astype(np.float64)
    points[..., 0] *= aspect or 1.0
    nose = points[:, sk.NOSE]
    hands = np.stack([points[:, hand] for hand in HANDS], axis=1)
    found = np.isfinite(hands).all((-1, -2))
    if not found.any() or not np.isfinite(nose).all(-1).any():
        return None
    palms = np.linalg.norm(hands[:, :, MIDDLE_KNUCKLE] - hands[:, :, 0], axis=-1)[found]
    palm = float(np.median(palms))
    if palm <= 0:
        return None
    hands = (hands - np.nanmedian(nose, axis=0)) / palm
    filled, seen = zip(*(_fill(hands[:, hand], found[:, hand]) for hand in (LEFT, RIGHT)), strict=True)
    both = np.stack(filled, axis=1)
    wrists = both[:, :, 0]
    return Motion(wrists, both - wrists[:, :, None], np.stack(seen, axis=1))


def _fill(hand: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One hand [T, 21, 2] without NaN: linear over gaps; it counts as seen in those of at most ``LONGEST_GAP``."""
    times = np.flatnonzero(found)
    if not len(times):
        return np.zeros_like(hand), found
    low, weight = _weights(np.interp(np.arange(len(hand)), times, np.arange(len(times))), len(times))
    held = hand[times]
    filled = _between(held[low], held[np.minimum(low + 1, len(times) - 1)], weight)
    seen = found.copy()
    for before, after in pairwise(times):
        if after - before <= LONGEST_GAP + 1:
            seen[before:after] = True
    return filled, seen


def to_poses(motion: Motion, nose: np.ndarray, palm: float) -> np.ndarray:
    """float32 [T, 75, 3] in image units of a square picture: ``nose`` [T, 2], ``palm`` its unit; only x and y.

    A hand that is not seen, or whose wrist is out of the picture, is NaN, and so is z everywhere.
    """
    poses = np.full((len(motion), sk.NUM_POINTS, 3), np.nan, np.float32)
    poses[:, sk.NOSE, :2] = nose
    for side, hand in enumerate(HANDS):
        places = nose[:, None] + palm * (motion.wrists[:, side, None] + motion.shapes[:, side])
        inside = ((places[:, 0] >= 0) & (places[:, 0] <= 1)).all(-1)
        poses[:, hand, :2] = np.where((motion.seen[:, side] & inside)[:, None, None], places, np.nan)
    return poses


def joined(parts: list[Motion]) -> Motion:
    """One motion after the other."""
    return Motion(
        np.concatenate([p.wrists for p in parts]),
        np.concatenate([p.shapes for p in parts]),
        np.concatenate([p.seen for p in parts]),
    )
