"""Significance of differences between systems: randomization, bootstrap over seeds and clips, Holm's correction.

The two-level bootstrap generalizes to other clips *and* other training seeds of an arm. Each resample draws clips with
replacement, the same ones for all systems, and for each arm as many seeds as it has, with replacement; its value is the
mean over the drawn seeds of the metric on the drawn clips. Clips and seeds are crossed: the models of all seeds see the
same clips. With one seed per arm this is the paired bootstrap over clips, which says nothing about other seeds. With S
seeds the variance between seeds is underestimated by the factor (S - 1) / S: intervals of few seeds are too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

LEVEL = 0.05
SAMPLES = 1000
DIFFERENCE_HEADER = ["run", "difference", "95 %", "p", "p Holm", ""]


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


def resample_means(values: np.ndarray, *, samples: int = SAMPLES, seed: int = 0) -> np.ndarray:
    """Return the means over clips of ``values`` [systems, clips] in each resample of the clips [systems, samples].

    A resample has the same clips for all systems.
    """
    size = values.shape[1]
    rng = np.random.default_rng(seed)
    resampled = np.zeros((len(values), samples))
    for i in range(samples):
        multiplicity = np.bincount(rng.integers(size, size=size), minlength=size)
        resampled[:, i] = values @ multiplicity / size
    return resampled


def resample_seeds(values: np.ndarray, *, seed: int, arm: int) -> np.ndarray:
    """Return in each resample the mean over the seeds drawn for one arm, float64 [samples].

    ``values`` [seeds, samples] holds the metric of each seed's model in each resample of the clips; ``arm`` numbers the
    arms of a comparison, which draw their seeds independently. One seed is returned as it is.
    """
    seeds, samples = values.shape
    # A second, nonzero word: a SeedSequence of (seed, 0) would repeat the draws of the clips.
    drawn = np.random.default_rng([seed, 1 + arm]).integers(seeds, size=(samples, seeds))
    return np.asarray(values[drawn, np.arange(samples)[:, None]].mean(1))


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


def verdict(interval: tuple[float, float], p: float | None = None) -> str:
    """Return "better", "worse", or "undetermined": the interval of a difference contains zero, or p is above .05."""
    low, high = interval
    if p is not None and p > LEVEL:
        return "undetermined"
    return "better" if low > 0 else "worse" if high < 0 else "undetermined"


def difference_row(label: str, difference: dict[str, Any], format_value: Callable[[float], str]) -> list[str]:
    """Return the cells below ``DIFFERENCE_HEADER`` of a difference with ``observed``, ``interval``, p and p_holm."""
    low, high = (format_value(end) for end in difference["interval"])
    p_values = [format_p(difference["p"]), format_p(difference["p_holm"], mark=True)]
    interval = f"{low} to {high}"
    return [
        label,
        format_value(difference["observed"]),
        interval,
        *p_values,
        verdict(difference["interval"], difference["p_holm"]),
    ]
