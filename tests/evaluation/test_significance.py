"""Significance tests against exact counts."""

from __future__ import annotations

import numpy as np
import pytest

from signatlas.evaluation.significance import (
    add_holm,
    bootstrap_p,
    holm,
    one_sided_p,
    paired_randomization,
    resample_means,
    resample_seeds,
    verdict,
)


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


def reference_holm(p_values: list[float], alpha: float) -> list[bool]:
    """Decide by Holm's procedure as published: test the smallest first, stop at the first that is not significant."""
    rejected = [False] * len(p_values)
    for k, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__), start=1):
        if p_values[i] > alpha / (len(p_values) - k + 1):
            break
        rejected[i] = True
    return rejected


def test_holm_equals_hand_computed_values() -> None:
    # 4 x .005, 3 x .01, 2 x .03, 1 x .04; the last two may not be below their predecessor.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.4]) == pytest.approx([0.8, 0.8])
    assert holm([0.02]) == [0.02] and holm([]) == [] and holm([0.5, 0.5, 0.5]) == [1.0, 1.0, 1.0]


def test_holm_rejects_what_the_step_down_procedure_rejects() -> None:
    rng = np.random.default_rng(0)
    for count in range(1, 30):
        p_values = (rng.random(count) ** 3).tolist()
        for alpha in (0.01, 0.05, 0.2):
            assert [p <= alpha for p in holm(p_values)] == reference_holm(p_values, alpha)


def test_comparisons_without_p_are_not_counted() -> None:
    comparisons = [{"p": 0.03}, {"p": None}, {"p": 0.01}]
    add_holm(comparisons)
    assert [comparison["p_holm"] for comparison in comparisons] == [pytest.approx(0.03), None, pytest.approx(0.02)]


def test_one_seed_is_not_resampled() -> None:
    values = np.random.default_rng(0).normal(size=(1, 500))
    np.testing.assert_array_equal(resample_seeds(values, seed=3, arm=1), values[0])


def test_resampled_seeds_have_the_variance_of_a_mean_and_arms_are_independent() -> None:
    seeds = np.array([[1.0], [2.0], [6.0]])
    values = np.repeat(seeds, 20_000, axis=1)  # no variance over clips
    first, second = (resample_seeds(values, seed=0, arm=arm) for arm in (0, 1))
    assert first.mean() == pytest.approx(3, abs=0.03)
    assert first.var() == pytest.approx(seeds.var() / 3, rel=0.03)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    np.testing.assert_array_equal(first, resample_seeds(values, seed=0, arm=0))


def test_resampled_clips_are_the_same_for_all_systems_and_independent_of_the_seeds_drawn() -> None:
    values = np.random.default_rng(1).normal(size=(2, 50))
    first, second = resample_means(np.stack([values[0], values[0] + 1]), samples=400)
    np.testing.assert_allclose(second - first, 1)
    assert first.std() == pytest.approx(values[0].std() / 50**0.5, rel=0.15)
    clips = resample_means(values[:1], samples=2000)[0]
    drawn = resample_seeds(np.repeat([[0.0], [1.0]], 2000, axis=1), seed=0, arm=0)
    assert abs(np.corrcoef(clips, drawn)[0, 1]) < 0.1


def test_an_interval_that_contains_zero_or_a_large_p_is_undetermined() -> None:
    assert verdict((0.1, 0.2), 0.05) == "better" and verdict((0.1, 0.2), 0.06) == "undetermined"
    assert [verdict(ends) for ends in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.2), (0.0, 0.2), (-0.1, 0.0))] == [
        "better", "worse", "undetermined", "undetermined", "undetermined",
    ]  # fmt: skip
