"""Sentence retrieval by the protocol of groups, against hand-computed matrices and a slow loop."""

from __future__ import annotations

import numpy as np
import pytest

from signatlas.evaluation.sentences.protocol import (
    PairScores,
    both_directions,
    compare_languages,
    directions,
    expected_rank_variance,
    merge_identical_texts,
    mixed_gallery,
    summarize,
)

FOUR = np.array(
    [
        [0.9, 0.1, 0.2, 0.3],
        [0.8, 0.5, 0.1, 0.5],  # text 0 scores higher than the right one, text 3 ties with it
        [0.1, 0.2, 0.7, 0.3],
        [0.2, 0.6, 0.1, 0.4],
    ]
)


def slow_ranks(scores: np.ndarray, of_video: list[int], of_text: list[int]) -> tuple[list[int], list[int]]:
    """Return (T2V, V2T) ranks by the definition, one comparison at a time."""
    to_video, to_text = [], []
    groups = sorted(set(of_video))
    for t, group in enumerate(of_text):
        best = {g: max(scores[v, t] for v in range(len(of_video)) if of_video[v] == g) for g in groups}
        to_video.append(1 + sum(best[g] >= best[group] for g in groups if g != group) if group in best else 0)
    for v, group in enumerate(of_video):
        right = [scores[v, t] for t in range(len(of_text)) if of_text[t] == group]
        others = [scores[v, t] for t in range(len(of_text)) if of_text[t] != group]
        to_text.append(1 + sum(score >= max(right) for score in others) if right else 0)
    return to_video, to_text


def test_hand_computed_ranks_with_a_tie_that_counts_against_the_query() -> None:
    sentences = np.arange(4)
    both = directions(FOUR, sentences, sentences)
    assert both["V2T"].ranks().tolist() == [1, 3, 1, 2]
    assert both["T2V"].ranks().tolist() == [1, 2, 1, 2]
    metrics = both_directions(FOUR, sentences, sentences)
    assert metrics["V2T"] == {
        "R@1": 0.5, "R@5": 1.0, "R@10": 1.0, "MedR": 1.5, "MeanR": 1.75,
        "MRR": pytest.approx((1 + 1 / 3 + 1 + 0.5) / 4), "queries": 4, "left_out": 0, "gallery": 4,
    }  # fmt: skip
    assert metrics["T2V"]["MeanR"] == 1.5


def test_a_constant_scorer_has_no_recall() -> None:
    metrics = both_directions(np.ones((6, 6)), np.arange(6), np.arange(6))
    assert metrics["T2V"]["R@5"] == metrics["V2T"]["R@5"] == 0.0
    assert metrics["T2V"]["MedR"] == 6


def test_a_sentence_is_scored_by_its_best_video_and_every_video_is_a_query() -> None:
    # Sentence 0 has videos 0 and 1, sentence 1 video 2, sentence 2 videos 3 and 4.
    scores = np.array([[0.1, 0.9, 0.0], [0.8, 0.2, 0.1], [0.7, 0.6, 0.3], [0.0, 0.1, 0.2], [0.5, 0.1, 0.4]])
    videos, texts = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 2])
    both = directions(scores, videos, texts)
    assert both["T2V"].scores.tolist() == [[0.8, 0.7, 0.5], [0.9, 0.6, 0.1], [0.1, 0.3, 0.4]]
    assert both["T2V"].ranks().tolist() == [1, 2, 1]
    assert both["V2T"].ranks().tolist() == [2, 1, 2, 1, 2]
    metrics = both_directions(scores, videos, texts)
    assert (metrics["T2V"]["queries"], metrics["T2V"]["gallery"]) == (3, 3)
    assert (metrics["V2T"]["queries"], metrics["V2T"]["gallery"]) == (5, 3)


@pytest.mark.parametrize("seed", range(25))
def test_equals_the_slow_loop_with_groups_ties_and_missing_partners(seed: int) -> None:
    rng = np.random.default_rng(seed)
    videos, texts = int(rng.integers(1, 12)), int(rng.integers(1, 9))
    of_video, of_text = rng.integers(0, 6, videos), rng.integers(0, 6, texts)
    scores = rng.integers(0, 5, (videos, texts)).astype(np.float32)
    both = directions(scores, of_video, of_text)
    to_video, to_text = slow_ranks(scores, of_video.tolist(), of_text.tolist())
    assert both["T2V"].ranks().tolist() == to_video
    assert both["V2T"].ranks().tolist() == to_text


def test_nan_wrong_shapes_and_no_relevant_item_raise() -> None:
    broken = FOUR.copy()
    broken[2, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        both_directions(broken, np.arange(4), np.arange(4))
    with pytest.raises(ValueError, match=r"must be \[videos, texts\]"):
        both_directions(FOUR, np.arange(3), np.arange(4))
    with pytest.raises(ValueError, match="no query has a relevant item"):
        both_directions(FOUR, np.arange(4), np.arange(4) + 10)


def test_identical_texts_are_errors_when_strict_and_one_text_when_merged() -> None:
    # Texts 0 and 1 are the same string, so their columns are equal and each of the two videos has the other's text.
    scores = np.array([[0.9, 0.9, 0.1], [0.6, 0.6, 0.2], [0.3, 0.3, 0.8]])
    pairs = PairScores(scores, np.arange(3), np.arange(3))
    strict = both_directions(*pairs)
    merged_pairs = merge_identical_texts(pairs, np.array([7, 7, 3]))
    merged = both_directions(*merged_pairs)
    assert strict["V2T"]["R@1"] == pytest.approx(1 / 3)
    assert (merged["V2T"]["R@1"], merged["V2T"]["gallery"], merged["V2T"]["queries"]) == (1.0, 2, 3)
    assert (merged["T2V"]["R@1"], merged["T2V"]["gallery"], merged["T2V"]["queries"]) == (1.0, 2, 2)


@pytest.mark.parametrize("seed", range(10))
def test_merging_equals_a_slow_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    of_video, same = rng.integers(0, 7, 11), rng.integers(0, 4, 7)
    scores = rng.normal(size=(11, 7))
    both = directions(*merge_identical_texts(PairScores(scores, of_video, np.arange(7)), same))
    labels = sorted(set(same.tolist()))
    columns = np.array([[max(scores[v, t] for t in range(7) if same[t] == s) for s in labels] for v in range(11)])
    to_video, to_text = slow_ranks(columns, [int(same[g]) for g in of_video], labels)
    assert both["T2V"].ranks().tolist() == to_video
    assert both["V2T"].ranks().tolist() == to_text


def test_merging_joins_sentences_that_share_a_text_and_keeps_videos_without_text() -> None:
    # Sentence 0 has texts 0 and 1, sentence 1 texts 2 and 3; texts 1 and 2 are the same: all of it is one sentence.
    pairs = PairScores(np.eye(3, 5), np.array([0, 1, 9]), np.array([0, 0, 1, 1, 2]))
    merged_pairs = merge_identical_texts(pairs, np.array([0, 1, 1, 2, 3]))
    assert len(set(merged_pairs.group_of_text[:3].tolist())) == 1
    assert merged_pairs.group_of_video[0] == merged_pairs.group_of_video[1] == merged_pairs.group_of_text[0]
    assert merged_pairs.group_of_video[2] not in merged_pairs.group_of_text


def test_summarize_has_intervals_and_chance() -> None:
    summary = summarize(directions(FOUR, np.arange(4), np.arange(4))["V2T"], samples=200)
    assert summary["chance"]["R@1"] == 0.25
    assert summary["chance"]["MeanR"] == 2.5
    low, high = summary["intervals"]["R@1"]
    assert low <= summary["metrics"]["R@1"] == 0.5 <= high


def test_hand_computed_mean_rank_variance() -> None:
    other = FOUR[:, ::-1].copy()
    comparison = compare_languages({"de": FOUR, "en": other}, np.arange(4), np.arange(4))
    first = np.array([[1, 3, 1, 2], directions(other, np.arange(4), np.arange(4))["V2T"].ranks()])
    assert comparison["MRV"]["V2T"]["MRV"] == pytest.approx(first.var(0).mean())
    assert comparison["MRV"]["V2T"]["relative"] == pytest.approx((first / 4).var(0).mean())
    assert comparison["by_language"]["de"] == both_directions(FOUR, np.arange(4), np.arange(4))
    same = compare_languages({"de": FOUR, "en": FOUR}, np.arange(4), np.arange(4))
    assert same["MRV"]["T2V"]["MRV"] == same["MRV"]["T2V"]["relative"] == 0.0
    assert "mixed" not in compare_languages({"de": FOUR}, np.arange(4), np.arange(4))


def test_expected_rank_variance_equals_random_orders() -> None:
    rng = np.random.default_rng(0)
    drawn = {code: rng.random((400, 400)) for code in ("de", "en", "fr")}
    variance = compare_languages(drawn, np.arange(400), np.arange(400))["MRV"]["T2V"]
    assert variance["chance"]["MRV"] == pytest.approx(expected_rank_variance(3, 400))
    assert variance["MRV"] == pytest.approx(variance["chance"]["MRV"], rel=0.15)
    assert variance["relative"] == pytest.approx(variance["chance"]["relative"], rel=0.15)


def test_a_mixed_gallery_shows_which_language_is_preferred() -> None:
    german = np.array([[0.5, 0.1], [0.2, 0.6]])
    english = np.array([[0.9, 0.0], [0.7, 0.1]])  # video 0: its translation wins; video 1: a wrong English text
    mixed = mixed_gallery({"de": german, "en": english}, np.arange(2), np.arange(2))
    assert mixed["de"] == {"outranked": 1.0, "by_translation": 0.5, "by_wrong": 0.5, "first": 0.0}
    assert mixed["en"] == {"outranked": 0.5, "by_translation": 0.5, "by_wrong": 0.5, "first": 1.0}
    assert mixed["V2T"]["R@1"] == 0.5
    assert mixed["V2T"]["gallery"] == 4
    level = mixed_gallery({"de": german, "en": german}, np.arange(2), np.arange(2))
    assert level["de"]["first"] == level["en"]["first"] == 0.5
