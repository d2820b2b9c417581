"""Rankings: metrics with intervals, chance level, worst queries."""

from __future__ import annotations

import numpy as np
import pytest

from signatlas.errors import UserError
from signatlas.evaluation.chance import expected, rank_distribution
from signatlas.evaluation.ranking import Ranking, summarize, worst_queries
from signatlas.metrics.retrieval import evaluate


def random_ranking(queries: int = 6, gallery: int = 6, words: int = 3) -> Ranking:
    """Return random scores; queries and gallery items belong to ``words`` glosses in turn."""
    scores = np.random.default_rng(0).normal(size=(queries, gallery)).astype(np.float32)
    relevant = np.arange(queries)[:, None] % words == np.arange(gallery)[None] % words
    ids = np.array([[f"item {g}" for g in range(gallery)]] * queries, dtype=object)
    glosses = np.array([f"w{q % words}" for q in range(queries)], dtype=object)
    return Ranking(np.array([f"query {q}" for q in range(queries)], dtype=object), ids, scores, relevant, glosses)


@pytest.mark.parametrize(("relevant", "gallery"), [([1, 1, 4], 30), ([2, 9, 9, 1], 60), ([3], 3), ([1], 1)])
def test_chance_equals_shuffled_rankings(relevant: list[int], gallery: int) -> None:
    rng = np.random.default_rng(0)
    rounds = 6000
    rows = np.zeros((len(relevant) * rounds, gallery), bool)
    for i, count in enumerate(np.tile(relevant, rounds)):
        rows[i, :count] = True
    measured = evaluate(rng.permuted(np.tile(np.arange(gallery), (len(rows), 1)), axis=1), rows)
    chance = expected(np.array(relevant), gallery)
    for name, value in chance.items():
        assert measured[name] == pytest.approx(value, rel=0.05, abs=0.02 if name != "MedR" else 1.0), name


def test_chance_of_a_dictionary() -> None:
    chance = expected(np.ones(250, int), 3012)
    assert chance["MedR"] == 1506
    assert chance["R@10"] == pytest.approx(10 / 3012)
    assert rank_distribution(1, 3012).sum() == pytest.approx(1)


def test_intervals_contain_their_metrics() -> None:
    ranking = random_ranking(30, 30, 6)
    summary = summarize(ranking, samples=200, groups=ranking.query_glosses)
    for name, value in summary["metrics"].items():
        low, high = summary["intervals"][name]
        assert low <= value <= high, name
        low, high = summary["group_intervals"][name]
        assert low <= value <= high, name
    assert (summary["queries"], summary["left_out"], summary["gallery"]) == (30, 0, 30)


def test_nan_and_no_relevant_item_raise() -> None:
    ranking = random_ranking()
    with pytest.raises(UserError, match="6 of 6 queries have NaN scores"):
        summarize(ranking.rescored(np.full_like(ranking.scores, np.nan)))
    none = Ranking(ranking.query_ids, ranking.gallery_ids, ranking.scores, ranking.relevant & False, ranking.query_ids)
    with pytest.raises(UserError, match="no query has a relevant item"):
        summarize(none)


def test_worst_queries_have_the_highest_ranks() -> None:
    scores = np.array([[3.0, 2, 1], [1, 2, 3], [1, 3, 2]])
    ids = np.array([["a", "b", "c"]] * 3, dtype=object)
    names = np.array(["q0", "q1", "q2"], dtype=object)
    ranking = Ranking(names, ids, scores, np.array([[True, False, False]] * 3), names)
    worst = worst_queries(ranking)
    assert [(f["query"], f["rank"], f["first"]) for f in worst] == [("q1", 3, "c"), ("q2", 3, "b")]
