"""Normalize poses: center, scale, fill missing points (reverse dictionary, 4.3), mirror, resample in time."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from signatlas.errors import PoseError
from signatlas.pose import skeleton as sk

# Body proportions relative to the torso length (shoulder midpoint to hip midpoint), used to scale clips without hips,
# or without a body.
TORSO_PER_SHOULDER_WIDTH = 1.3
TORSO_PER_PALM = 5.0
FACE_ABOVE_SHOULDERS = 0.45  # torso lengths from the shoulder midpoint up to the nose
MAX_QUERY_COORDINATE = 1e5  # image units are about 0..1; pixels are below this too


@dataclass(frozen=True)
class Points:
    """Poses without gaps: ``coordinates`` float32 [frames, points, 3], and ``present`` bool [frames, points]."""

    coordinates: np.ndarray
    present: np.ndarray


def check(poses: np.ndarray, name: str = "poses") -> np.ndarray:
    """Return ``poses`` as float32 [frames, 75, 3]. Raises PoseError for other shapes, no frames, or no face or hand."""
    array = np.asarray(poses)
    if array.ndim != 3 or array.shape[1:] != (sk.NUM_POINTS, 3):
        raise PoseError(f"{name}: shape {list(array.shape)}, expected [frames, 75, 3] (33 body, 21 + 21 hand points)")
    if len(array) == 0:
        raise PoseError(f"{name}: the clip is empty: choose one with at least one frame")
    array = array.astype(np.float32, copy=False)
    if np.isinf(array).any():
        raise PoseError(f"{name}: infinite coordinates: write missing ones as NaN")
    if np.isnan(array[:, [sk.NOSE, *range(sk.NUM_BODY, sk.NUM_POINTS)], :2]).all():
        raise PoseError(f"{name}: neither face nor hands detected in any frame: record with the hands in view")
    return array


def check_query(poses: np.ndarray, name: str = "poses") -> np.ndarray:
    """Return the poses of a query as float32 [frames, 75, 3].

    Raises PoseError as :func:`check`, for coordinates above ``MAX_QUERY_COORDINATE``, and for no hand in any frame.
    Clips of a corpus may lack hands; a query without hands has nothing that a search or a translation could read. A
    hand is visible in a frame where x and y of a landmark are finite, unless all of its landmarks are at one position:
    some tools write missing landmarks as zeros.
    """
    array = check(poses, name)
    if np.nanmax(np.abs(array)) > MAX_QUERY_COORDINATE:
        raise PoseError(f"{name}: coordinates up to {np.nanmax(np.abs(array)):.3g}: write them in image units, 0 to 1")
    if not any(_hand_visible(array[:, hand, :2]).any() for hand in (sk.LEFT_HAND, sk.RIGHT_HAND)):
        raise PoseError(f"{name}: no hand is visible in any frame: record with the hands in view")
    return array


def _hand_visible(landmarks: np.ndarray) -> np.ndarray:
    """Return in which frames bool [frames] a hand's landmarks [frames, 21, 2] are a hand."""
    finite = np.isfinite(landmarks).all(-1)
    lowest = np.where(finite[..., None], landmarks, np.inf).min(1)
    highest = np.where(finite[..., None], landmarks, -np.inf).max(1)
    count = finite.sum(1)
    # A source may track each hand as a single point.
    return (count == 1) | ((count > 1) & (highest > lowest).any(-1))


def normalize(poses: np.ndarray, aspect: float | None = None) -> np.ndarray:
    """Return one clip centered and scaled; missing coordinates stay NaN.

    ``poses`` is [frames, 75, 3] in image units (x/width, y/height, z in x units); ``aspect`` is width/height, if known.
    The origin is the median shoulder midpoint of the clip, the unit its median torso length. Hips outside the image
    are replaced by the shoulder width, a missing body by nose and palm. The result does not depend on the position of
    the signer in the image or the distance from the camera. Raises PoseError for unusable poses, also for coordinates
    so large that they overflow: infinite values would count as missing afterwards.
    """
    points = check(poses).copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nanmedian of a point that is always missing; overflow
        if aspect is not None:
            points[..., 0] *= aspect
            points[..., 2] *= aspect
        unit = _unit(points)
        origin = _origin(points, unit)
        points[..., :2] -= origin
        normalized: np.ndarray = points / unit
    if np.isinf(origin).any() or np.isinf(normalized).any():
        raise PoseError("poses: the coordinates are too large to be normalized: are they in image units?")
    return normalized


def _median_length(vectors: np.ndarray) -> float:
    """Return the median over frames of the 2-D length, NaN if always missing."""
    return float(np.nanmedian(np.linalg.norm(vectors[..., :2], axis=-1)))


def _unit(points: np.ndarray) -> float:
    shoulders = points[:, [sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER]]
    hips = points[:, [sk.LEFT_HIP, sk.RIGHT_HIP]]
    # MediaPipe extrapolates hips below the lower edge of the image from the rest of the body.
    hips_in_view = np.nanmedian(hips[..., 1]) <= 1.0
    torso = _median_length(shoulders.mean(1) - hips.mean(1)) if hips_in_view else np.nan
    width = _median_length(shoulders[:, 0] - shoulders[:, 1]) * TORSO_PER_SHOULDER_WIDTH
    for length in (torso, width, palm_length(points) * TORSO_PER_PALM):
        if np.isfinite(length) and length > 1e-6:
            return length
    return 1.0


def palm_length(points: np.ndarray) -> float:
    """Return the distance from wrist to middle knuckle, NaN without hands.

    It is the 75th percentile over frames and hands, because a turned palm looks shorter.
    """
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
    """Return normalized points [..., 75, 3] mirrored: x changes its sign, left and right points are swapped."""
    return points[..., sk.MIRROR, :] * np.array([-1.0, 1.0, 1.0], np.float32)


def fill(points: np.ndarray) -> Points:
    """Interpolate the missing coordinates of [frames, points, 3] linearly over time.

    Before the first and after the last detection the nearest value is repeated; a coordinate that is always missing
    becomes zero. ``present`` marks the points whose x and y were detected.
    """
    frames = len(points)
    flat = points.reshape(frames, -1)
    detected = np.isfinite(flat)
    index = np.arange(frames)[:, None]
    before = np.maximum.accumulate(np.where(detected, index, -1), axis=0)
    after = np.minimum.accumulate(np.where(detected, index, frames)[::-1], axis=0)[::-1]
    never = ~detected.any(0)
    low = np.where(before < 0, np.minimum(after, frames - 1), before)
    high = np.where(after >= frames, low, after)
    values = np.where(detected, flat, 0.0)
    columns = np.arange(flat.shape[1])[None]
    weight = (index - low) / np.maximum(high - low, 1)
    weight = np.clip(weight, 0.0, 1.0)
    filled = values[low, columns] * (1 - weight) + values[high, columns] * weight
    filled[:, never] = 0.0
    return Points(filled.reshape(points.shape).astype(np.float32), np.isfinite(points[..., :2]).all(-1))


def sample_times(length: int, frames: int) -> np.ndarray:
    """Return ``frames`` fractional frame positions, evenly spaced over ``length`` frames, both ends included."""
    return np.linspace(0.0, length - 1.0, frames, dtype=np.float32)


def at_times(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return values [frames, ...] at fractional ``times``, by linear interpolation; non-floats by nearest frame."""
    if values.dtype.kind != "f":
        return values[np.round(times).astype(int)]
    low = np.floor(times).astype(int)
    high = np.minimum(low + 1, len(values) - 1)
    weight = (times - low).reshape(-1, *[1] * (values.ndim - 1)).astype(values.dtype)
    return values[low] * (1 - weight) + values[high] * weight


def fixed_length(values: np.ndarray, frames: int) -> np.ndarray:
    """Resample [T, ...] to [frames, ...] by linear interpolation, both ends included; NaN stays NaN."""
    return at_times(values, sample_times(len(values), frames))
