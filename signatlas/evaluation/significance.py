"""Significance of differences between systems: paired randomization, paired bootstrap, Holm's correction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

LEVEL = 0.05


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


def percentile_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval (low, high) of resampled values [samples]."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for multiple tests by Holm's step-down method (Holm 1979), in the given order.

    The k-th smallest of m values (k from 1) is multiplied by m - k + 1; an adjusted value is at least as large as all
    adjusted values of smaller p, and at most 1. Rejecting where it is at most alpha keeps the family-wise error rate.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for k, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - k) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def add_holm(comparisons: Iterable[dict[str, Any]]) -> None:
    """Add ``p_holm``, corrected over all comparisons that have a ``p``; None for a ``p`` of None."""
    comparisons = list(comparisons)
    tested = [comparison for comparison in comparisons if comparison["p"] is not None]
    adjusted = holm([comparison["p"] for comparison in tested])
    for comparison in comparisons:
        comparison["p_holm"] = None
    for comparison, p in zip(tested, adjusted, strict=True):
        comparison["p_holm"] = p


def format_p(p: float | None, *, mark: bool = False) -> str:
    """Return p as text; ``mark`` adds "n.s." (not significant) above .05.

    >>> format_p(0.0371), format_p(0.0002), format_p(0.2, mark=True), format_p(None)
    ('.037', '<.001', '.200 n.s.', '')
    """
    if p is None:
        return ""
    text = "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")
    return f"{text} n.s." if mark and p > LEVEL else text
