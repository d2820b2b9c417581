"""Normalize poses: center, scale, missing points, number of frames."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from signatlas.errors import PoseError
from signatlas.pose import skeleton as sk

# Lengths of one body in units of its torso (shoulder midpoint to hip midpoint), so that a clip without hips, or
# without a body at all, comes out at about the size it would have had with them.
TORSO_PER_SHOULDER_WIDTH = 1.3
TORSO_PER_PALM = 5.0
FACE_ABOVE_SHOULDERS = 0.45  # the nose lies this many torso lengths above the shoulder midpoint


@dataclass(frozen=True)
class Points:
    """Poses ready for a model: ``coordinates`` float32 [frames, points, 3], zero where ``present`` is False."""

    coordinates: np.ndarray
    present: np.ndarray


def check(poses: np.ndarray, name: str = "poses") -> np.ndarray:
    """Return ``poses`` as float32 [frames, 75, 3]. Raises PoseError for any other shape, no frames or no point."""
    array = np.asarray(poses)
    if array.ndim != 3 or array.shape[1:] != (sk.NUM_POINTS, 3):
        raise PoseError(f"{name}: shape {list(array.shape)}, expected [frames, 75, 3] (33 body, 21 + 21 hand points)")
    if len(array) == 0:
        raise PoseError(f"{name}: the clip is empty; record or choose one with at least one frame")
    array = array.astype(np.float32, copy=False)
    if np.isinf(array).any():
        raise PoseError(f"{name}: infinite coordinates; write missing ones as NaN")
    if np.isnan(array[:, [sk.NOSE, *range(sk.NUM_BODY, sk.NUM_POINTS)], :2]).all():
        raise PoseError(f"{name}: neither face nor hands were found in any frame; record with the hands in view")
    return array


def normalize(poses: np.ndarray, aspect: float | None = None) -> np.ndarray:
    """Center and scale one clip; missing coordinates stay NaN.

    ``poses`` is [frames, 75, 3] in image units (x/width, y/height, z in x units); ``aspect`` is width/height where
    known. The origin is the clip's median shoulder midpoint, one unit the clip's median torso length; hips out of
    the picture are replaced by shoulder width, a missing body by nose and palm. The result does not change when
    the signer stands elsewhere in the picture or nearer to the camera. Raises PoseError for unusable poses.
    """
    points = check(poses).copy()
    if aspect is not None:
        points[..., 0] *= aspect
        points[..., 2] *= aspect
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nanmedian of a point that is never there
        unit = _unit(points)
        origin = _origin(points, unit)
    points[..., :2] -= origin
    return points / unit


def _median_length(vectors: np.ndarray) -> float:
    """Median over frames of the 2-D length; NaN when never there."""
    return float(np.nanmedian(np.linalg.norm(vectors[..., :2], axis=-1)))


def _unit(points: np.ndarray) -> float:
    shoulders = points[:, [sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER]]
    hips = points[:, [sk.LEFT_HIP, sk.RIGHT_HIP]]
    # Below the lower edge of the picture MediaPipe guesses hips from the rest of the body.
    hips_in_view = np.nanmedian(hips[..., 1]) <= 1.0
    torso = _median_length(shoulders.mean(1) - hips.mean(1)) if hips_in_view else np.nan
    width = _median_length(shoulders[:, 0] - shoulders[:, 1]) * TORSO_PER_SHOULDER_WIDTH
    for length in (torso, width, palm_length(points) * TORSO_PER_PALM):
        if np.isfinite(length) and length > 1e-6:
            return length
    return 1.0


def palm_length(points: np.ndarray) -> float:
    """Wrist to middle knuckle, the 75th percentile over frames and hands: a turned palm looks shorter. NaN if none."""
    hands = np.stack([points[:, sk.LEFT_HAND], points[:, sk.RIGHT_HAND]])
    palms = np.linalg.norm((hands[:, :, sk.HAND_MIDDLE_MCP] - hands[:, :, sk.HAND_WRIST])[..., :2], axis=-1)
    return float(np.nanpercentile(palms, 75)) if np.isfinite(palms).any() else float("nan")


def _origin(points: np.ndarray, unit: float) -> np.ndarray:
    shoulders = np.nanmedian(points[:, [sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER], :2].mean(1), axis=0)
    if np.isfinite(shoulders).all():
        return shoulders
    nose = np.nanmedian(points[:, sk.NOSE, :2], axis=0)
    if np.isfinite(nose).all():
        return nose + np.array([0.0, FACE_ABOVE_SHOULDERS * unit], np.float32)
    hands = points[:, sk.NUM_BODY :, :2].reshape(-1, 2)
    return np.nanmedian(hands, axis=0)


def mirror(points: np.ndarray) -> np.ndarray:
    """The same signing by a left-handed signer (or in a mirror): x changes sign, left and right change places.

    Takes normalized points [..., 75, 3], whose origin is the middle of the body.
    """
    return points[..., sk.MIRROR, :] * np.array([-1.0, 1.0, 1.0], np.float32)


def fill(points: np.ndarray) -> Points:
    """Interpolate missing coordinates over time, by mask and not by value.

    Gaps are bridged linearly, before the first and after the last sighting the nearest value is held, a coordinate
    that is never there becomes zero. ``present`` tells which points were really seen (x and y).
    """
    frames = len(points)
    flat = points.reshape(frames, -1)
    seen = np.isfinite(flat)
    index = np.arange(frames)[:, None]
    before = np.maximum.accumulate(np.where(seen, index, -1), axis=0)
    after = np.minimum.accumulate(np.where(seen, index, frames)[::-1], axis=0)[::-1]
    never = ~seen.any(0)
    low = np.where(before < 0, np.minimum(after, frames - 1), before)
    high = np.where(after >= frames, low, after)
    values = np.where(seen, flat, 0.0)
    columns = np.arange(flat.shape[1])[None]
    weight = (index - low) / np.maximum(high - low, 1)
    weight = np.clip(weight, 0.0, 1.0)
    filled = values[low, columns] * (1 - weight) + values[high, columns] * weight
    filled[:, never] = 0.0
    return Points(filled.reshape(points.shape).astype(np.float32), np.isfinite(points[..., :2]).all(-1))


def sample_times(length: int, frames: int) -> np.ndarray:
    """``frames`` fractional frame positions spread evenly over ``length`` frames, ends included."""
    return np.linspace(0.0, length - 1.0, frames, dtype=np.float32)


def at_times(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Values [frames, ...] at fractional ``times``; booleans and other kinds take the nearest frame."""
    if values.dtype.kind != "f":
        return values[np.round(times).astype(int)]
    low = np.floor(times).astype(int)
    high = np.minimum(low + 1, len(values) - 1)
    weight = (times - low).reshape(-1, *[1] * (values.ndim - 1)).astype(values.dtype)
    return values[low] * (1 - weight) + values[high] * weight


def fixed_length(values: np.ndarray, frames: int) -> np.ndarray:
    """Resample [T, ...] to [frames, ...]; the first and the last frame stay (NaN stays NaN)."""
    return at_times(values, sample_times(len(values), frames))
