"""Significance of differences between systems: paired randomization and paired bootstrap."""

from __future__ import annotations

import numpy as np


def paired_randomization(first: np.ndarray, second: np.ndarray, *, samples: int = 10_000, seed: int = 0) -> float:
    """Return the two-sided p of the paired randomization test for a difference of means over queries.

    Under the null hypothesis the values [Q] of the two systems may be exchanged within each query. p counts the random
    exchanges that differ at least as much, and the observed one, so it is never zero. Fisher 1935; Smucker et al. 2007.
    """
    difference = np.asarray(first, float) - np.asarray(second, float)
    difference = difference[difference != 0]
    if not len(difference):
        return 1.0
    signs = np.random.default_rng(seed).integers(0, 2, (samples, len(difference)), dtype=np.int8) * 2 - 1
    exchanged = np.abs(signs @ difference)
    return float((1 + (exchanged >= abs(difference.sum()) - 1e-9).sum()) / (1 + samples))


def one_sided_p(differences: np.ndarray) -> float:
    """Return the p of a positive difference from its bootstrap resamples [samples]: (b + 1) / (n + 1).

    b of the n resamples are at most zero. The observed data count as one of them, so p is never zero (Davison and
    Hinkley 1997, Eq. 4.11).
    """
    return float((1 + (differences <= 0).sum()) / (1 + len(differences)))


def bootstrap_p(differences: np.ndarray) -> float:
    """Return the two-sided p of a difference from its paired bootstrap resamples [samples] (Koehn 2004).

    p is twice the smaller one-sided p, at most 1, and never zero.
    """
    return min(1.0, 2 * min(one_sided_p(differences), one_sided_p(-differences)))


def percentile_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile bootstrap interval (low, high) of resampled values [samples]."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
