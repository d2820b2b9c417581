"""The 258-value layout of MediaPipe Holistic: 33 body x (x, y, z, visibility), then 21 left and 21 right hand xyz."""

from __future__ import annotations

import numpy as np

from signatlas.errors import PoseError
from signatlas.pose.skeleton import BODY, NUM_BODY, NUM_HAND, NUM_POINTS

WIDTH = NUM_BODY * 4 + 2 * NUM_HAND * 3


def to_poses(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[frames, 258] -> poses float32 [frames, 75, 3] and visibility float16 [frames, 75].

    A point whose x, y and z are all zero was not found: its coordinates and visibility become NaN. Body points keep
    their visibility; hands have none in this layout and get 1 where they were found. Raises PoseError for a wrong
    width, no frames, infinite values or not a single point.
    """
    if values.ndim != 2 or values.shape[1] != WIDTH:
        raise PoseError(f"shape {values.shape}, expected [frames, {WIDTH}]: 33 body x 4, 21 + 21 hand points x 3")
    if len(values) == 0:
        raise PoseError("no frames")
    values = np.asarray(values, np.float32)
    if np.isinf(values).any():
        raise PoseError("infinite values")
    body = values[:, : NUM_BODY * 4].reshape(-1, NUM_BODY, 4)
    hands = values[:, NUM_BODY * 4 :].reshape(-1, 2 * NUM_HAND, 3)
    poses = np.concatenate([body[..., :3], hands], axis=1)
    visibility = np.ones((len(values), NUM_POINTS), np.float16)
    visibility[:, BODY] = body[..., 3]
    missing = (np.nan_to_num(poses) == 0).all(axis=-1)
    poses[missing], visibility[missing] = np.nan, np.nan
    if missing.all():
        raise PoseError("not a single point: every value is zero or NaN")
    return poses, visibility
