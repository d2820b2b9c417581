"""Sample poses of nose and hands."""

from __future__ import annotations

import numpy as np

from signatlas.pose import skeleton as sk

HAND = np.array([(0, 0), (3, -1), (5, -3), (6, -5), (7, -6), (3, -9), (3, -12), (3, -14), (3, -16), (0, -10), (0, -13),
                 (0, -15), (0, -17), (-2, -9), (-2, -12), (-2, -14), (-2, -16), (-4, -8), (-4, -10), (-4, -11),
                 (-4, -12)]) / 100  # fmt: skip


def nose_and_hands(frames: int = 20, wrist: tuple[float, float] = (0.35, 0.7)) -> np.ndarray:
    """Return poses with a nose and an open right hand, palm forward, left of the face (not mirrored)."""
    poses = np.full((frames, sk.NUM_POINTS, 3), np.nan, np.float32)
    poses[:, sk.NOSE, :2] = (0.5, 0.3)
    poses[:, sk.RIGHT_HAND, :2] = HAND + wrist
    return poses
