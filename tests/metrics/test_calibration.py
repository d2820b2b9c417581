"""Calibration of words: the formulas against plain references, SciPy, and chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from signatlas.metrics.calibration import calibration_noise, expected_calibration_error, shares_right, wilson_interval

WORDS = np.array(["probable", "possible", "unlikely", "not found"])


def answers(seed: int, count: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.choice(WORDS, count, p=[0.5, 0.3, 0.15, 0.05]), rng.random(count) < 0.7, rng.uniform(0.1, 3, count)


def plain_error(words, right, promised, weights) -> float:
    """Sum over words of the share of answers with the word, times the error of its share of right answers."""
    total, error = 0.0, 0.0
    for word in promised:
        members = [n for n in range(len(words)) if words[n] == word]
        weight = sum(weights[n] for n in members)
        if members:
            share = sum(weights[n] for n in members if right[n]) / weight
            total, error = total + weight, error + weight * abs(share - promised[word])
    return error / total


@pytest.mark.parametrize(("successes", "total"), [(0, 1), (1, 1), (0, 40), (40, 40), (7, 40), (345, 348), (3, 1000)])
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_the_interval_of_a_share_is_that_of_scipy(successes: int, total: int, level: float) -> None:
    theirs = binomtest(successes, total).proportion_ci(level, method="wilson")
    assert wilson_interval(successes, total, level=level) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_error_equals_a_plain_loop(seed: int) -> None:
    words, right, weights = answers(seed)
    promised = {"probable": 0.9, "possible": 0.5, "not found": 0.2, "never said": 0.7}  # nothing for "unlikely"
    ones = np.ones(len(words))
    assert expected_calibration_error(words, right, promised) == pytest.approx(
        plain_error(words, right, promised, ones), abs=1e-12
    )
    assert expected_calibration_error(words, right, promised, weights) == pytest.approx(
        plain_error(words, right, promised, weights), abs=1e-12
    )
    order = np.random.default_rng(9).permutation(len(words))
    assert expected_calibration_error(words[order], right[order], promised) == pytest.approx(
        expected_calibration_error(words, right, promised), abs=1e-12
    )


def test_the_error_of_the_shares_themselves_is_zero() -> None:
    words, right, weights = answers(3)
    assert expected_calibration_error(words, right, shares_right(words, right)) == pytest.approx(0, abs=1e-12)
    assert expected_calibration_error(words, right, shares_right(words, right, weights), weights) < 1e-12
    assert expected_calibration_error(["a", "a", "b"], np.array([1, 0, 1]), {"a": 1.0, "b": 1.0}) == pytest.approx(
        1 / 3
    )
    assert shares_right(["a", "b", "a"], np.array([True, False, False]), np.array([3, 1, 1])) == {"a": 0.75, "b": 0.0}
    with pytest.raises(ValueError, match="no answer has a word"):
        expected_calibration_error(words, right, {"certain": 1.0})


def test_noise_is_the_mean_error_of_answers_that_keep_their_promise() -> None:
    words, _, _ = answers(4)
    promised = {"probable": 0.95, "possible": 0.6, "unlikely": 0.2}
    rng = np.random.default_rng(1)
    shares = np.array([promised.get(word, 0.5) for word in words])
    errors = [expected_calibration_error(words, rng.random(len(words)) < shares, promised) for _ in range(2000)]
    assert calibration_noise(words, promised) == pytest.approx(np.mean(errors), rel=0.05)
    assert calibration_noise(words, dict.fromkeys(WORDS, 1.0)) == 0
    with pytest.raises(ValueError, match="no answer has a word"):
        calibration_noise(words, {})
