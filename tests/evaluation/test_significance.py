"""Significance tests against exact counts."""

from __future__ import annotations

import numpy as np
import pytest

from signatlas.evaluation.significance import bootstrap_p, one_sided_p, paired_randomization


def test_paired_randomization_equals_exact_counts() -> None:
    # Five queries differ, all in one direction: 2 of the 32 exchanges are as extreme.
    assert paired_randomization(np.ones(5), np.zeros(5)) == pytest.approx(2 / 32, abs=0.01)
    assert paired_randomization(np.array([1, 0, 1]), np.array([0, 1, 1])) == 1.0
    assert paired_randomization(np.ones(9), np.ones(9)) == 1.0
    rng = np.random.default_rng(0)
    p_values = [paired_randomization(*rng.integers(0, 2, (2, 60)), samples=500, seed=i) for i in range(400)]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.08  # it holds its level


def test_bootstrap_p_counts_the_observed_difference_and_is_never_zero() -> None:
    above = np.array([0.5, 1.0, 1.5, 2.0])
    assert one_sided_p(above) == pytest.approx(1 / 5) and one_sided_p(-above) == 1
    assert bootstrap_p(above) == bootstrap_p(-above) == pytest.approx(2 / 5)
    # One of nine resamples is below zero and one is zero, which counts on both sides.
    mixed = np.array([-1.0, 0.0, 1, 2, 3, 4, 5, 6, 7])
    assert one_sided_p(mixed) == pytest.approx(3 / 10) and bootstrap_p(mixed) == pytest.approx(6 / 10)
    assert bootstrap_p(np.zeros(9)) == 1
