"""Sentence retrieval in both directions, by CiCo's protocol of groups; input is a matrix of scores.

A *sentence* (group) has one text per language and one or more videos. Text to video (T2V): each text ranks sentences;
the score of a sentence is that of its best video. Video to text (V2T): each video ranks all texts. Ties count against
the query.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from signatlas.evaluation.chance import expected
from signatlas.metrics.retrieval import bootstrap_rank_metrics, mean_rank_variance, rank_metrics, ranks

METRICS = ("R@1", "R@5", "R@10", "MedR", "MeanR", "MRR")
DIRECTIONS = ("T2V", "V2T")


class DirectionScores(NamedTuple):
    """One direction: ``scores`` [Q, G], higher is more similar, and ``relevant`` bool [Q, G]."""

    scores: np.ndarray
    relevant: np.ndarray

    def ranks(self) -> np.ndarray:
        """Return int64 [Q], 0 for a query without a relevant item. Raises ValueError for NaN."""
        return ranks(self.scores, self.relevant)

    def only(self, queries: np.ndarray) -> DirectionScores:
        """Return the queries that the mask bool [Q] selects, against the same gallery."""
        return DirectionScores(self.scores[queries], self.relevant[queries])


class PairScores(NamedTuple):
    """``scores`` [V, T] of V videos and T texts, and the sentence of each video int [V] and text int [T]."""

    scores: np.ndarray
    group_of_video: np.ndarray
    group_of_text: np.ndarray

    def only(self, groups: np.ndarray) -> PairScores:
        """Return the videos and texts of these sentences alone."""
        videos, texts = np.isin(self.group_of_video, groups), np.isin(self.group_of_text, groups)
        return PairScores(self.scores[np.ix_(videos, texts)], self.group_of_video[videos], self.group_of_text[texts])


def directions(scores: np.ndarray, group_of_video: np.ndarray, group_of_text: np.ndarray) -> dict[str, DirectionScores]:
    """Return T2V [T, sentences with a video, by their number] and V2T [V, T] of scores [V, T].

    Raises ValueError for shapes that do not fit, and for no videos or no texts.
    """
    scores, videos, texts = np.asarray(scores), np.asarray(group_of_video), np.asarray(group_of_text)
    if scores.shape != (*videos.shape, *texts.shape) or 0 in scores.shape:
        raise ValueError(f"scores {scores.shape} must be [videos, texts], here [{len(videos)}, {len(texts)}]")
    groups, best = _best_of_each(scores, videos)
    return {
        "T2V": DirectionScores(best.T, texts[:, None] == groups[None]),
        "V2T": DirectionScores(scores, videos[:, None] == texts[None]),
    }


def _best_of_each(scores: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct groups [G] of the rows, and the largest score [G, ...] among the rows of each."""
    order = np.argsort(groups, kind="stable")
    distinct, starts = np.unique(groups[order], return_index=True)
    return distinct, np.maximum.reduceat(scores[order], starts, axis=0)


def both_directions(
    scores: np.ndarray, group_of_video: np.ndarray, group_of_text: np.ndarray
) -> dict[str, dict[str, float]]:
    """Return R@1, R@5, R@10, MedR, MeanR, MRR, queries, left_out and gallery of T2V and V2T.

    Shapes as in :class:`PairScores`. Queries whose sentence is not in the gallery are left out and counted. Raises
    ValueError for NaN, and when no query has a relevant item.
    """
    return {name: metrics_of(one) for name, one in directions(scores, group_of_video, group_of_text).items()}


def metrics_of(direction: DirectionScores) -> dict[str, float]:
    """Return the metrics of one direction. Raises ValueError for NaN, and when no query has a relevant item."""
    all_ranks = direction.ranks()
    valid = all_ranks[all_ranks > 0]
    if not len(valid):
        raise ValueError("no query has a relevant item in the gallery")
    values = rank_metrics(valid)
    sizes = {"queries": len(valid), "left_out": len(all_ranks) - len(valid), "gallery": direction.relevant.shape[1]}
    return {**{name: float(values[name]) for name in METRICS}, **sizes}


def summarize(direction: DirectionScores, *, seed: int = 0, samples: int = 2000) -> dict[str, Any]:
    """Return ``metrics``, 95 % bootstrap ``intervals`` over queries, ``chance``, and numbers of queries and items.

    Raises ValueError as :func:`metrics_of` does.
    """
    values = metrics_of(direction)
    all_ranks = direction.ranks()
    intervals = bootstrap_rank_metrics(all_ranks[all_ranks > 0], samples=samples, seed=seed)
    chance = expected(direction.relevant.sum(1)[all_ranks > 0], direction.relevant.shape[1])
    return {
        "metrics": {name: values[name] for name in METRICS},
        "intervals": {name: intervals[name] for name in METRICS},
        "chance": {name: chance[name] for name in METRICS},
        **{name: int(values[name]) for name in ("queries", "left_out", "gallery")},
    }


def merge_identical_texts(pairs: PairScores, text_labels: np.ndarray) -> PairScores:
    """Return the scores with identical texts merged into one text, and their sentences into one sentence.

    ``text_labels`` int [T] are equal for identical texts. A merged text has the best score of its members, which may
    differ in case and punctuation.
    """
    scores, videos, texts = pairs
    labels, text = np.unique(np.asarray(text_labels), return_inverse=True)
    groups, group = np.unique(np.concatenate([texts, videos]), return_inverse=True)
    group, of_video = group[: len(texts)], group[len(texts) :]
    # Connected components of texts and sentences, by propagating the smallest label.
    label = np.arange(len(labels))
    while True:
        of_group = np.full(len(groups), len(labels))
        np.minimum.at(of_group, group, label[text])
        updated = label.copy()
        np.minimum.at(updated, text, of_group[group])
        if (updated == label).all():
            break
        label = updated
    without_text = of_group == len(labels)
    of_group[without_text] += np.arange(without_text.sum())
    _, columns = _best_of_each(scores.T, text)
    return PairScores(columns.T, of_group[of_video], label)


def compare_languages(
    scores_by_language: Mapping[str, np.ndarray], group_of_video: np.ndarray, group_of_text: np.ndarray
) -> dict[str, Any]:
    """Return the metrics of K languages, their mean rank variance, and which language a mixed gallery prefers.

    Each scores [V, T], with the texts in the same order in every language. Keys: ``by_language`` (metrics of both
    directions); ``MRV`` (by direction the mean rank variance of ranks, ``relative``, of ranks divided by the size of
    the gallery, and ``chance``); for several languages ``mixed`` (:func:`mixed_gallery`). Raises ValueError as
    :func:`both_directions` does.
    """
    by_language = {code: directions(s, group_of_video, group_of_text) for code, s in scores_by_language.items()}
    variance: dict[str, Any] = {}
    for direction in DIRECTIONS:
        rank_rows = np.stack([both[direction].ranks() for both in by_language.values()])
        rank_rows = rank_rows[:, (rank_rows > 0).all(0)]
        size = next(iter(by_language.values()))[direction].relevant.shape[1]
        chance = expected_rank_variance(len(by_language), size)
        variance[direction] = {
            "MRV": mean_rank_variance(rank_rows),
            "relative": mean_rank_variance(rank_rows / size),
            "chance": {"MRV": chance, "relative": chance / size**2},
        }
    result: dict[str, Any] = {
        "by_language": {code: {d: metrics_of(one) for d, one in both.items()} for code, both in by_language.items()},
        "MRV": variance,
    }
    if len(by_language) > 1:
        result["mixed"] = mixed_gallery(scores_by_language, group_of_video, group_of_text)
    return result


def expected_rank_variance(languages: int, gallery: int) -> float:
    """Return the MRV of independent random orders with one relevant item: (G^2 - 1) / 12 * (K - 1) / K."""
    return (gallery**2 - 1) / 12 * (languages - 1) / languages


def mixed_gallery(
    scores_by_language: Mapping[str, np.ndarray], group_of_video: np.ndarray, group_of_text: np.ndarray
) -> dict[str, Any]:
    """Return how videos rank the texts of all K languages in one gallery: is one language preferred?

    Keys: ``V2T``, the metrics when the right text of any language is relevant; and for each language ``outranked``,
    the share of videos for which any text of another language scores at least as high as the right one of this
    language, ``by_translation``, the same for right texts of other languages, ``by_wrong``, for their wrong texts,
    and ``first``, how often this language is ranked first (ties are shared). Without preference and with two
    languages ``by_translation`` and ``first`` are near one half.
    """
    codes = list(scores_by_language)
    stacked = np.stack([np.asarray(scores_by_language[code]) for code in codes])  # [K, V, T]
    right = np.asarray(group_of_video)[:, None] == np.asarray(group_of_text)[None]
    has_text = right.any(1)
    stacked, right = stacked[:, has_text], right[has_text]
    relevant = np.concatenate([right] * len(codes), axis=1)
    result: dict[str, Any] = {"V2T": metrics_of(DirectionScores(np.concatenate(list(stacked), axis=1), relevant))}
    best_right = np.where(right, stacked, -np.inf).max(2)  # [K, V]
    best_wrong = np.where(right, -np.inf, stacked).max(2)  # [K, V]
    best = np.maximum(best_right, best_wrong)
    is_first = best == best.max(0)
    first_share = (is_first / is_first.sum(0)).mean(1)
    for k, code in enumerate(codes):
        others = [other for other in range(len(codes)) if other != k]
        result[code] = {
            "outranked": float((best[others].max(0) >= best_right[k]).mean()),
            "by_translation": float((best_right[others].max(0) >= best_right[k]).mean()),
            "by_wrong": float((best_wrong[others].max(0) >= best_right[k]).mean()),
            "first": float(first_share[k]),
        }
    return result
