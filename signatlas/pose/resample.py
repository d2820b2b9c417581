"""Bring clips to a fixed number of frames by linear interpolation over time."""

from __future__ import annotations

import numpy as np


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
