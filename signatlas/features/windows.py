"""Windows over continuous signing: where they lie, and their frames, cut from prepared clips without a loop."""

from __future__ import annotations

import numpy as np

from signatlas.features.store import subsample
from signatlas.pose.prepared_clips import PreparedClips


def starts(num_frames: int, window: int = 16, stride: int = 1, limit: int | None = None) -> np.ndarray:
    """First frames int [W] of a clip's windows: max(1, T - window + 1) of them at stride 1, ``limit`` kept (CiCo).

    A clip shorter than a window has one, in which its last frame is repeated.
    """
    every = np.arange(0, max(1, num_frames - window + 1), stride)
    return every[subsample(len(every), limit)]


def centers(num_frames: int, window: int = 16, stride: int = 1, limit: int | None = None) -> np.ndarray:
    """Middle frames float [W] of the windows that :func:`starts` gives; inside the clip."""
    return np.minimum(starts(num_frames, window, stride, limit) + (window - 1) / 2, max(0, num_frames - 1))


def all_starts(
    lengths: np.ndarray, window: int = 16, stride: int = 1, limit: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Clip numbers int [N] and first frames int [N] of the windows of clips of ``lengths`` frames, clip after clip."""
    each = [starts(int(length), window, stride, limit) for length in lengths]
    which = np.repeat(np.arange(len(each)), [len(s) for s in each])
    return which, np.concatenate(each) if each else np.zeros(0, np.int64)


def take(
    bank: PreparedClips, which: np.ndarray, first: np.ndarray, window: int, frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates float32 [B, frames, P, 3] and presence [B, frames, P] of windows of ``window`` frames.

    Resampled to ``frames`` where that is another number; past a clip's end its last frame stands still.
    """
    if window != frames:
        return bank.at(which, first[:, None] + np.linspace(0, window - 1, frames)[None])
    offsets = np.minimum(first[:, None] + np.arange(window)[None], (bank.lengths[which] - 1)[:, None])
    rows = bank.starts[which][:, None] + offsets
    return bank.coordinates[rows], bank.present[rows]
