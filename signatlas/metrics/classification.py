"""Accuracy of classifiers."""

from __future__ import annotations

import numpy as np


def top_k_accuracy(ranked_NK: np.ndarray, labels_N: np.ndarray, k: int) -> float:
    """Return the share of samples whose label is among the first ``k`` of its ranked classes, in 0..1."""
    return float((ranked_NK[:, :k] == labels_N[:, None]).any(1).mean())
