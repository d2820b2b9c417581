"""Sliding windows over continuous signing: their positions and their frames."""

from __future__ import annotations

import numpy as np

from signatlas.features.store import subsample
from signatlas.pose.prepared_clips import PreparedClips


def starts(num_frames: int, window: int = 16, stride: int = 1, limit: int | None = None) -> np.ndarray:
    """Return first frames int [W] of a clip's windows: max(1, T - window + 1) at stride 1, up to ``limit`` (CiCo).

    A clip shorter than a window has one window, in which its last frame is repeated.
    """
    all_first = np.arange(0, max(1, num_frames - window + 1), stride)
    return all_first[subsample(len(all_first), limit)]


def centers(num_frames: int, window: int = 16, stride: int = 1, limit: int | None = None) -> np.ndarray:
    """Return the middle frames float [W] of the windows of :func:`starts`, clipped to the clip."""
    return np.minimum(starts(num_frames, window, stride, limit) + (window - 1) / 2, max(0, num_frames - 1))


def all_starts(
    lengths: np.ndarray, window: int = 16, stride: int = 1, limit: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return clip indices int [N] and first frames int [N] of the windows of clips of ``lengths`` frames."""
    per_clip = [starts(int(length), window, stride, limit) for length in lengths]
    clip_indices = np.repeat(np.arange(len(per_clip)), [len(s) for s in per_clip])
    return clip_indices, np.concatenate(per_clip) if per_clip else np.zeros(0, np.int64)


def take(
    bank: PreparedClips, clip_indices: np.ndarray, first: np.ndarray, window: int, frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates float32 [B, frames, P, 3] and presence [B, frames, P] of windows of ``window`` frames.

    Windows are resampled to ``frames``; past the end of a clip its last frame is repeated.
    """
    if window != frames:
        return bank.at(clip_indices, first[:, None] + np.linspace(0, window - 1, frames)[None])
    offsets = np.minimum(first[:, None] + np.arange(window)[None], (bank.lengths[clip_indices] - 1)[:, None])
    rows = bank.starts[clip_indices][:, None] + offsets
    return bank.coordinates[rows], bank.present[rows]
