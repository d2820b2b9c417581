"""Calibration of answers in words: how often answers with a word are right, against how often they were before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np


def wilson_interval(successes: int, total: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a proportion, ``successes`` of ``total`` (Wilson 1927); (0, 1) for none.

    Unlike a bootstrap interval it has a width where all or none are successes.
    """
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / total
    center = share + z**2 / (2 * total)
    half = z * sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    return max(0.0, (center - half) / scale), min(1.0, (center + half) / scale)


def shares_right(
    words: Sequence[str] | np.ndarray, right: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, float]:
    """Return the weighted share of right answers, 0..1, for each word that occurs.

    ``words`` [Q] are those of the answers, ``right`` bool [Q], ``weights`` [Q] positive (default: all 1).
    """
    names, answer_weights, sums = _sums(words, right, weights)
    return {str(name): float(sums[n] / answer_weights[n]) for n, name in enumerate(names)}


def expected_calibration_error(
    words: Sequence[str] | np.ndarray,
    right: np.ndarray,
    promised: Mapping[str, float],
    weights: np.ndarray | None = None,
) -> float:
    """Return the expected calibration error of words, 0..1: sum over words w of n_w / n |right_w - promised_w|.

    n_w is the (weighted) number of answers with word w, right_w the share of them that is right, ``promised`` the share
    that a reader of the word may expect (Naeini et al. 2015, with the words as bins and the promised share instead of
    the mean confidence of a bin). Shapes as in :func:`shares_right`. Answers whose word has no promised share are left
    out. Raises ValueError when no answer is left.
    """
    names, answer_weights, sums = _sums(words, right, weights)
    kept = [n for n, name in enumerate(names) if str(name) in promised]
    if not kept:
        raise ValueError("no answer has a word with a promised share")
    errors = [abs(sums[n] - promised[str(names[n])] * answer_weights[n]) for n in kept]
    return float(sum(errors) / answer_weights[kept].sum())


def calibration_noise(
    words: Sequence[str] | np.ndarray, promised: Mapping[str, float], *, samples: int = 2000, seed: int = 0
) -> float:
    """Return the mean expected calibration error if every promised share were exact, from the number of answers alone.

    The error of a finite sample is above zero even then: each of ``samples`` draws the right answers of each word from
    a binomial distribution.
    """
    names, counts = np.unique(np.asarray(words, dtype=str), return_counts=True)
    kept = np.array([str(name) in promised for name in names], bool)
    if not kept.any():
        raise ValueError("no answer has a word with a promised share")
    shares = np.array([promised[str(name)] for name in names[kept]])
    drawn = np.random.default_rng(seed).binomial(counts[kept], shares, size=(samples, int(kept.sum())))
    return float((np.abs(drawn - shares * counts[kept]).sum(1) / counts[kept].sum()).mean())


def _sums(
    words: Sequence[str] | np.ndarray, right: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the words [W] and, for each, the weight of its answers and that of its right ones."""
    names, member = np.unique(np.asarray(words, dtype=str), return_inverse=True)
    weights = np.ones(len(member)) if weights is None else np.asarray(weights, float)
    totals = np.bincount(member, weights, minlength=len(names))
    return names, totals, np.bincount(member, weights * np.asarray(right, bool), minlength=len(names))
