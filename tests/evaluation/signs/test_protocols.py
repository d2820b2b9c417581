"""Protocols and chance: who is asked, who is left out, what a shuffled ranking scores."""

from __future__ import annotations

import numpy as np
import pytest

from signatlas.errors import UserError
from signatlas.evaluation.chance import expected, rank_distribution
from signatlas.evaluation.signs.protocols import Ranking, failures, gallery_and_queries, leave_one_out, rank, report
from signatlas.evaluation.signs.space import Space, parse_filter
from signatlas.metrics.retrieval import evaluate


def space(count: int = 12, words: int = 3, seed: int = 0) -> Space:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [
        {"id": f"clip {i}", "gloss": f"w{i % words}", "split": "train" if i < count // 2 else "test", "source": "s"}
        for i in range(count)
    ]
    return Space(rows, vectors)


def test_gallery_is_the_train_split() -> None:
    ranking = gallery_and_queries(space(), "test")
    assert ranking.query_ids.tolist() == [f"clip {i}" for i in range(6, 12)]
    assert ranking.gallery_ids.shape == (6, 6)
    assert set(ranking.gallery_ids[0]) == {f"clip {i}" for i in range(6)}
    assert ranking.relevant[0].tolist() == [True, False, False, True, False, False]


def test_leave_one_out_takes_each_query_out_of_its_own_gallery() -> None:
    part = space()
    ranking = leave_one_out(part, "test")
    assert ranking.scores.shape == (6, 5)
    for query, gallery, scores, relevant in zip(
        ranking.query_ids, ranking.gallery_ids, ranking.scores, ranking.relevant, strict=True
    ):
        assert query not in gallery
        assert len(set(gallery)) == 5
        index = {id: i for i, id in enumerate(part.ids)}
        own = index[query]
        others = [index[id] for id in gallery]
        np.testing.assert_allclose(scores, part.vectors[others] @ part.vectors[own], atol=1e-6)
        assert relevant.tolist() == [part.glosses[o] == part.glosses[own] for o in others]


def test_a_mirrored_query_does_not_find_its_own_clip() -> None:
    part = space()
    both = Space(part.rows, part.vectors, part.vectors[::-1].copy())
    ranking = rank(both.seen_in_a_mirror(), both)
    assert ranking.scores.shape == (12, 11)
    assert not any(query in gallery for query, gallery in zip(ranking.query_ids, ranking.gallery_ids, strict=True))


def test_filters_that_overlap_in_part_or_choose_nothing_are_refused() -> None:
    part = space()
    with pytest.raises(UserError, match="3 of 6 queries are in the gallery"):
        rank(part.where(lambda row: row["split"] == "test"), Space(part.rows[:9], part.vectors[:9]))
    with pytest.raises(UserError, match="0 queries against 12 clips"):
        rank(part.where(parse_filter("split=dev")), part)


def test_clips_without_a_gloss_are_relevant_to_nobody() -> None:
    part = space()
    for row in part.rows[:2] + part.rows[6:8]:
        row["gloss"] = None
    ranking = gallery_and_queries(part, "test")
    assert not ranking.relevant[:2].any()
    assert report(ranking, samples=10)["left_out"] == 2


def test_euclidean_ranks_by_distance() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(12, 5)).astype(np.float32) * rng.uniform(1, 5, (12, 1)).astype(np.float32)
    part = Space(space().rows, vectors, similarity="euclidean")
    ranking = gallery_and_queries(part, "test")
    distances = np.linalg.norm(vectors[6:, None] - vectors[None, :6], axis=-1)
    np.testing.assert_allclose(ranking.scores, -(distances**2), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "expected_ids"),
    [
        ("split=test,gloss=w0", ["clip 6", "clip 9"]),
        ("split=test, gloss!=w0|w1", ["clip 8", "clip 11"]),
        ("id=clip 3|clip 4", ["clip 3", "clip 4"]),
    ],
)
def test_filter_syntax(text: str, expected_ids: list[str]) -> None:
    assert space().where(parse_filter(text)).ids.tolist() == expected_ids


@pytest.mark.parametrize(("text", "why"), [("split", "cannot read 'split'"), ("color=red", "no column 'color'")])
def test_bad_filters_are_named(text: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        parse_filter(text)


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


def test_report_has_intervals_around_its_figures() -> None:
    ranking = gallery_and_queries(space(60, 6), "test")
    found = report(ranking, samples=200, groups=ranking.query_glosses)
    for name, value in found["metrics"].items():
        low, high = found["intervals"][name]
        assert low <= value <= high, name
        low, high = found["group_intervals"][name]
        assert low <= value <= high, name
    assert (found["queries"], found["left_out"], found["gallery"]) == (30, 0, 30)


def test_report_refuses_nan_and_nothing_to_find_in_one_line() -> None:
    ranking = gallery_and_queries(space(), "test")
    with pytest.raises(UserError, match="6 of 6 queries have NaN scores"):
        report(ranking.rescored(np.full_like(ranking.scores, np.nan)))
    none = Ranking(ranking.query_ids, ranking.gallery_ids, ranking.scores, ranking.relevant & False, ranking.query_ids)
    with pytest.raises(UserError, match="no query has a relevant item"):
        report(none)


def test_failures_are_the_lowest_ranks() -> None:
    scores = np.array([[3.0, 2, 1], [1, 2, 3], [1, 3, 2]])
    ids = np.array([["a", "b", "c"]] * 3, dtype=object)
    names = np.array(["q0", "q1", "q2"], dtype=object)
    ranking = Ranking(names, ids, scores, np.array([[True, False, False]] * 3), names)
    found = failures(ranking)
    assert [(f["query"], f["rank"], f["first"]) for f in found] == [("q1", 3, "c"), ("q2", 3, "b")]
