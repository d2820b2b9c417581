"""Retrieval metrics against a plain reference, scikit-learn, ranx and their invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score

from signatlas.metrics import retrieval
from signatlas.metrics.retrieval import average_precision, bootstrap, evaluate, mean_rank_variance, ranks


def reference(scores: np.ndarray, relevant: np.ndarray) -> dict[str, float]:
    """Compute the definitions, one query and one item at a time."""
    all_ranks, precisions = [], []
    for row, is_relevant in zip(scores, relevant, strict=True):
        if not is_relevant.any():
            continue
        best = max(s for s, r in zip(row, is_relevant, strict=True) if r)
        all_ranks.append(1 + sum(1 for s, r in zip(row, is_relevant, strict=True) if not r and s >= best))
        order = sorted(range(len(row)), key=lambda i: (-row[i], is_relevant[i]))
        hits, total = 0, 0.0
        for position, item in enumerate(order, start=1):
            if is_relevant[item]:
                hits += 1
                total += hits / position
        precisions.append(total / hits)
    result = {f"R@{k}": float(np.mean([r <= k for r in all_ranks])) for k in (1, 5, 10, 50)}
    result |= {"mAP": float(np.mean(precisions)), "MRR": float(np.mean([1 / r for r in all_ranks]))}
    result |= {"MedR": float(np.median(all_ranks)), "MeanR": float(np.mean(all_ranks))}
    return {**result, "queries": len(all_ranks), "left_out": len(scores) - len(all_ranks)}


@st.composite
def rankings(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw small rankings with many ties; the first query has a relevant item."""
    shape = (draw(st.integers(1, 6)), draw(st.integers(1, 12)))
    scores = draw(arrays(np.float64, shape, elements=st.integers(-4, 4).map(float)))
    relevant = draw(arrays(np.bool_, shape))
    relevant[0, draw(st.integers(0, shape[1] - 1))] = True
    return scores, relevant


@given(rankings())
def test_equals_the_reference(ranking: tuple[np.ndarray, np.ndarray]) -> None:
    assert evaluate(*ranking) == pytest.approx(reference(*ranking))


@given(rankings(), st.randoms(use_true_random=False))
def test_order_of_queries_and_items_does_not_matter(ranking: tuple[np.ndarray, np.ndarray], random: object) -> None:
    scores, relevant = ranking
    rng = np.random.default_rng(random.getrandbits(32))  # type: ignore[attr-defined]
    rows, columns = rng.permutation(scores.shape[0]), rng.permutation(scores.shape[1])
    shuffled = evaluate(scores[rows][:, columns], relevant[rows][:, columns])
    assert shuffled == pytest.approx(evaluate(scores, relevant))


@given(rankings())
def test_only_the_order_of_scores_matters(ranking: tuple[np.ndarray, np.ndarray]) -> None:
    scores, relevant = ranking
    assert evaluate(np.exp(3 * scores) - 7, relevant) == pytest.approx(evaluate(scores, relevant))


@given(rankings(), st.integers(0, 2**32 - 1))
def test_breaking_ties_never_hurts(ranking: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    scores, relevant = ranking
    noise = np.random.default_rng(seed).uniform(0, 0.5, scores.shape)
    valid = relevant.any(1)
    assert (ranks(scores + noise, relevant) <= ranks(scores, relevant)).all()
    tied, without_ties = (
        average_precision(scores, relevant)[valid],
        average_precision(scores + noise, relevant)[valid],
    )
    assert (without_ties >= tied - 1e-12).all()


@pytest.fixture(scope="module")
def untied() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    relevant = rng.random((40, 120)) < 0.05
    relevant[relevant.sum(1) == 0, 0] = True
    return rng.permutation(40 * 120).reshape(40, 120) / 4800, relevant


def test_average_precision_equals_scikit_learn(untied: tuple[np.ndarray, np.ndarray]) -> None:
    scores, relevant = untied
    expected = [average_precision_score(r, s) for s, r in zip(scores, relevant, strict=True)]
    np.testing.assert_allclose(average_precision(scores, relevant), expected, rtol=1e-12)


@pytest.mark.slow  # numba compiles ranx for half a minute
def test_equals_ranx(untied: tuple[np.ndarray, np.ndarray]) -> None:
    from ranx import Qrels, Run
    from ranx import evaluate as ranx_evaluate

    scores, relevant = untied
    run = Run({f"q{q}": {f"d{d}": float(s) for d, s in enumerate(row)} for q, row in enumerate(scores)})
    qrels = Qrels({f"q{q}": {f"d{d}": 1 for d in np.flatnonzero(row)} for q, row in enumerate(relevant)})
    theirs = ranx_evaluate(qrels, run, ["map", "mrr", "hit_rate@1", "hit_rate@10"])
    ours = evaluate(scores, relevant)
    names = {"map": "mAP", "mrr": "MRR"} | {f"hit_rate@{k}": f"R@{k}" for k in (1, 10)}
    for name, value in theirs.items():
        assert ours[names[name]] == pytest.approx(value), name


def test_a_constant_scorer_has_no_recall() -> None:
    relevant = np.eye(60, dtype=bool)
    figures = evaluate(np.full((60, 60), 0.3), relevant)
    assert (figures["R@1"], figures["R@50"], figures["MedR"]) == (0, 0, 60)
    assert figures["mAP"] == pytest.approx(1 / 60)


def test_queries_without_a_relevant_item_are_left_out_and_counted() -> None:
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
    relevant = np.array([[True, False], [False, False], [True, False]])
    figures = evaluate(scores, relevant)
    assert (figures["queries"], figures["left_out"], figures["R@1"], figures["MeanR"]) == (2, 1, 0.5, 1.5)
    assert ranks(scores, relevant).tolist() == [1, 0, 2]
    assert np.isnan(average_precision(scores, relevant)[1])


def test_nan_wrong_shapes_and_no_relevant_item_raise() -> None:
    with pytest.raises(ValueError, match="1 of 2 queries have NaN"):
        evaluate(np.array([[0.0, np.nan], [0.0, 1.0]]), np.ones((2, 2), bool))
    with pytest.raises(ValueError, match="must both be"):
        evaluate(np.zeros((2, 3)), np.zeros((3, 2), bool))
    with pytest.raises(ValueError, match="no query has a relevant item"):
        evaluate(np.zeros((2, 3)), np.zeros((2, 3), bool))


def test_minus_infinity_is_a_valid_score() -> None:
    assert ranks(np.array([[-np.inf, 1.0, -np.inf]]), np.array([[True, False, False]])).tolist() == [3]


def test_mean_rank_variance_is_a_population_variance() -> None:
    assert mean_rank_variance(np.array([[1, 10], [3, 10]])) == pytest.approx((1.0 + 0.0) / 2)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_bootstrap_agrees_with_scipy(seed: int) -> None:
    from scipy.stats import bootstrap as scipy_bootstrap

    values = np.random.default_rng(seed).normal(size=80)
    ours = bootstrap(values, np.mean, samples=4000, seed=seed)
    theirs = scipy_bootstrap((values,), np.mean, method="percentile", n_resamples=4000).confidence_interval
    width = theirs.high - theirs.low
    assert ours == pytest.approx(tuple(theirs), abs=0.1 * width)


def test_bootstrap_covers_and_is_deterministic() -> None:
    rng = np.random.default_rng(0)
    intervals = [bootstrap(rng.random(100) < 0.7, np.mean, samples=300, seed=s) for s in range(200)]
    assert 0.88 <= np.mean([low <= 0.7 <= high for low, high in intervals]) <= 0.99
    values = rng.random(30)
    assert bootstrap(values, np.median, seed=4) == bootstrap(values, np.median, seed=4)


def test_bootstrap_over_groups_is_wider_when_values_agree_within_groups() -> None:
    groups = np.repeat([f"signer {g}" for g in range(10)], 20)
    values = np.repeat(np.random.default_rng(1).normal(size=10), 20)
    low, high = bootstrap(values, np.mean, samples=500)
    wide_low, wide_high = bootstrap(values, np.mean, samples=500, groups=groups)
    assert (wide_high - wide_low) > 3 * (high - low)


@pytest.mark.parametrize("at_a_time", [1, 1000, 1 << 20])
def test_intervals_of_all_metrics_equal_those_of_each(at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "RESAMPLED_AT_A_TIME", at_a_time)
    rng = np.random.default_rng(3)
    values = {name: rng.integers(1, 60, 77) for name in retrieval.STATISTICS} | {"mAP": rng.random(77)}
    for groups in (None, rng.integers(0, 9, 77).astype(str)):
        intervals = retrieval.bootstrap_metrics(values, samples=301, seed=5, groups=groups)
        assert intervals == {
            name: bootstrap(values[name], statistic, samples=301, seed=5, groups=groups)
            for name, statistic in retrieval.STATISTICS.items()
        }


def test_intervals_of_rank_metrics_equal_the_bootstrap() -> None:
    ranks = np.random.default_rng(3).integers(1, 60, 300)
    intervals = retrieval.bootstrap_rank_metrics(ranks, samples=4000)
    for name, (low, high) in intervals.items():
        assert (low, high) == retrieval.bootstrap(ranks, retrieval.STATISTICS[name], samples=4000), name
        expected = retrieval.bootstrap(ranks, retrieval.STATISTICS[name], samples=4000, seed=1)
        tolerance = 0.1 * (expected[1] - expected[0]) + 1e-9 if name != "MedR" else 1.0
        assert abs(low - expected[0]) <= tolerance, name
        assert abs(high - expected[1]) <= tolerance, name
    assert {name: float(value) for name, value in retrieval.rank_metrics(ranks).items()} == {
        name: pytest.approx(statistic(ranks)) for name, statistic in retrieval.STATISTICS.items() if name != "mAP"
    }
