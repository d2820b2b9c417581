"""Poses as JSON: nested lists [frames][75][3] with null for missing coordinates, never NaN."""

from __future__ import annotations

from typing import Any

import numpy as np

from signatlas.errors import PoseError
from signatlas.pose.normalize import check


def to_json(poses: np.ndarray, decimals: int | None = None) -> list[list[list[float | None]]]:
    """Nested lists of ``poses`` [frames, 75, 3], rounded to ``decimals`` where given."""
    values = np.asarray(poses, np.float64)
    boxed = (values if decimals is None else values.round(decimals)).astype(object)
    boxed[~np.isfinite(values)] = None
    nested: list[list[list[float | None]]] = boxed.tolist()
    return nested


def from_json(value: Any, name: str = "poses") -> np.ndarray:
    """float32 [frames, 75, 3] from nested lists. Raises PoseError for anything else, and for clips without hands."""
    if not isinstance(value, list) or not value:
        raise PoseError(f"{name}: expected a list of frames, each 75 points of [x, y, z], null where missing")
    try:
        array = np.array(value, np.float64)  # None becomes NaN
    except (ValueError, TypeError, OverflowError) as error:
        raise PoseError(f"{name}: every frame needs 75 points of [x, y, z], numbers or null") from error
    if array.size and np.nanmax(np.abs(np.where(np.isfinite(array), array, 0))) > np.finfo(np.float32).max:
        raise PoseError(f"{name}: coordinates are in image units, about 0 to 1")
    return check(array.astype(np.float32), name)
