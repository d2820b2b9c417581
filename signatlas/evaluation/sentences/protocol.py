"""Sentence retrieval in both directions, by the group protocol of CiCo. Numpy only; models enter as scores.

A *sentence* (group) has one text a language and one video or several. Text to video (T2V): each text ranks sentences,
a sentence scored by the best of its videos. Video to text (V2T): each video ranks all texts. Ties count against the
query, and a tie never adds a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from signatlas.evaluation.chance import expected
from signatlas.metrics.retrieval import bootstrap_of_ranks, mean_rank_variance, of_ranks, ranks

FIGURES = ("R@1", "R@5", "R@10", "MedR", "MeanR", "MRR")
DIRECTIONS = ("T2V", "V2T")


class Asked(NamedTuple):
    """One direction: ``scores`` [Q, G], higher is nearer, and ``relevant`` bool [Q, G]."""

    scores: np.ndarray
    relevant: np.ndarray

    def ranks(self) -> np.ndarray:
        """int64 [Q], 0 where nothing is relevant. Raises ValueError for NaN."""
        return ranks(self.scores, self.relevant)

    def only(self, queries: np.ndarray) -> Asked:
        """The queries that the mask bool [Q] accepts, against the same gallery."""
        return Asked(self.scores[queries], self.relevant[queries])


class Paired(NamedTuple):
    """``scores`` [V, T] of V videos and T texts, and the sentences, int [V] and [T], that they belong to."""

    scores: np.ndarray
    group_of_video: np.ndarray
    group_of_text: np.ndarray

    def only(self, groups: np.ndarray) -> Paired:
        """The videos and the texts of these sentences alone."""
        videos, texts = np.isin(self.group_of_video, groups), np.isin(self.group_of_text, groups)
        return Paired(self.scores[np.ix_(videos, texts)], self.group_of_video[videos], self.group_of_text[texts])


def directions(scores: np.ndarray, group_of_video: np.ndarray, group_of_text: np.ndarray) -> dict[str, Asked]:
    """T2V [T, sentences with a video, in the order of their numbers] and V2T [V, T] of scores [V, T].

    Raises ValueError for shapes that do not fit and for no videos or no texts.
    """
    scores, videos, texts = np.asarray(scores), np.asarray(group_of_video), np.asarray(group_of_text)
    if scores.shape != (*videos.shape, *texts.shape) or 0 in scores.shape:
        raise ValueError(f"scores {scores.shape} must be [videos, texts], here [{len(videos)}, {len(texts)}]")
    groups, best = _best_of_each(scores, videos)
    return {
        "T2V": Asked(best.T, texts[:, None] == groups[None]),
        "V2T": Asked(scores, videos[:, None] == texts[None]),
    }


def _best_of_each(scores: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct groups [G] of the rows, and the largest score [G, ...] among the rows of each."""
    order = np.argsort(groups, kind="stable")
    distinct, starts = np.unique(groups[order], return_index=True)
    return distinct, np.maximum.reduceat(scores[order], starts, axis=0)


def both_directions(
    scores: np.ndarray, group_of_video: np.ndarray, group_of_text: np.ndarray
) -> dict[str, dict[str, float]]:
    """R@1, R@5, R@10, MedR, MeanR, MRR, queries, left_out and gallery of T2V and V2T; shapes as in :class:`Paired`.

    Where each sentence has one video, both directions read the plain matrix. Queries whose sentence is not in the
    gallery are left out and counted. Raises ValueError for NaN or when no query has anything to find.
    """
    return {name: figures(asked) for name, asked in directions(scores, group_of_video, group_of_text).items()}


def figures(asked: Asked) -> dict[str, float]:
    """The figures of one direction. Raises ValueError for NaN and when no query has a relevant item."""
    found = asked.ranks()
    counted = found[found > 0]
    if not len(counted):
        raise ValueError("no query has a relevant item in the gallery")
    values = of_ranks(counted)
    sizes = {"queries": len(counted), "left_out": len(found) - len(counted), "gallery": asked.relevant.shape[1]}
    return {**{name: float(values[name]) for name in FIGURES}, **sizes}


def described(asked: Asked, *, seed: int = 0, samples: int = 2000) -> dict[str, Any]:
    """``metrics``, their 95 % bootstrap ``intervals`` over queries, ``chance``, and the numbers of queries and items.

    Raises ValueError as :func:`figures` does.
    """
    values = figures(asked)
    found = asked.ranks()
    intervals = bootstrap_of_ranks(found[found > 0], samples=samples, seed=seed)
    chance = expected(asked.relevant.sum(1)[found > 0], asked.relevant.shape[1])
    return {
        "metrics": {name: values[name] for name in FIGURES},
        "intervals": {name: intervals[name] for name in FIGURES},
        "chance": {name: chance[name] for name in FIGURES},
        **{name: int(values[name]) for name in ("queries", "left_out", "gallery")},
    }


def merged(paired: Paired, same: np.ndarray) -> Paired:
    """Texts that are the same become one text, and their sentences one sentence: nothing identical is an error.

    ``same`` int [T] is equal for equal texts. A merged text has the best score of those it stands for: texts may be
    the same when folded and still differ in a comma.
    """
    scores, videos, texts = paired
    labels, text = np.unique(np.asarray(same), return_inverse=True)
    groups, group = np.unique(np.concatenate([texts, videos]), return_inverse=True)
    group, of_video = group[: len(texts)], group[len(texts) :]
    # A sentence with several texts, or a text of several sentences, ties all of them together: the least label wins.
    label = np.arange(len(labels))
    while True:
        of_group = np.full(len(groups), len(labels))
        np.minimum.at(of_group, group, label[text])
        following = label.copy()
        np.minimum.at(following, text, of_group[group])
        if (following == label).all():
            break
        label = following
    alone = of_group == len(labels)  # videos whose sentence has no text
    of_group[alone] += np.arange(alone.sum())
    _, columns = _best_of_each(scores.T, text)
    return Paired(columns.T, of_group[of_video], label)


def languages(
    scores_by_language: Mapping[str, np.ndarray], group_of_video: np.ndarray, group_of_text: np.ndarray
) -> dict[str, Any]:
    """How well K languages do, how far apart they are, and which of them a mixed gallery prefers.

    Each scores [V, T], the texts in the same order in every language. Returns ``by_language`` (figures of both
    directions); ``MRV``, the mean rank variance by direction, of ranks and ``relative``, of ranks by the size of the
    gallery, with chance beside; and for several languages ``mixed`` (see :func:`mixed_gallery`). Raises ValueError as
    :func:`both_directions` does.
    """
    asked = {code: directions(scores, group_of_video, group_of_text) for code, scores in scores_by_language.items()}
    spread: dict[str, Any] = {}
    for direction in DIRECTIONS:
        found = np.stack([both[direction].ranks() for both in asked.values()])
        found = found[:, (found > 0).all(0)]
        size = next(iter(asked.values()))[direction].relevant.shape[1]
        by_chance = chance_of_rank_variance(len(asked), size)
        spread[direction] = {
            "MRV": mean_rank_variance(found),
            "relative": mean_rank_variance(found / size),
            "chance": {"MRV": by_chance, "relative": by_chance / size**2},
        }
    result: dict[str, Any] = {
        "by_language": {code: {name: figures(one) for name, one in both.items()} for code, both in asked.items()},
        "MRV": spread,
    }
    if len(asked) > 1:
        result["mixed"] = mixed_gallery(scores_by_language, group_of_video, group_of_text)
    return result


def chance_of_rank_variance(languages: int, gallery: int) -> float:
    """MRV of independent random orders of one relevant item: (G^2 - 1) / 12 * (K - 1) / K."""
    return (gallery**2 - 1) / 12 * (languages - 1) / languages


def mixed_gallery(
    scores_by_language: Mapping[str, np.ndarray], group_of_video: np.ndarray, group_of_text: np.ndarray
) -> dict[str, Any]:
    """Every video asks the texts of all K languages at once: is one language preferred ("English inclination")?

    Returns ``V2T``, the figures when the right text of any language counts; and for each language: ``outranked``, the
    share of videos for which any text of another language scores at least as high as the right one of this language,
    ``by_translation``, the same of the right texts of other languages, ``by_wrong``, of their wrong texts, and
    ``first``, how often this language has the first place (shared by those that tie). Without inclination and with two
    languages ``by_translation`` and ``first`` are near one half.
    """
    codes = list(scores_by_language)
    stacked = np.stack([np.asarray(scores_by_language[code]) for code in codes])  # [K, V, T]
    right = np.asarray(group_of_video)[:, None] == np.asarray(group_of_text)[None]
    asks = right.any(1)
    stacked, right = stacked[:, asks], right[asks]
    everywhere = np.concatenate([right] * len(codes), axis=1)
    result: dict[str, Any] = {"V2T": figures(Asked(np.concatenate(list(stacked), axis=1), everywhere))}
    own = np.where(right, stacked, -np.inf).max(2)  # [K, V], as the next
    wrong = np.where(right, -np.inf, stacked).max(2)
    first = np.maximum(own, wrong)
    leads = first == first.max(0)
    leading = (leads / leads.sum(0)).mean(1)
    for place, code in enumerate(codes):
        others = [k for k in range(len(codes)) if k != place]
        result[code] = {
            "outranked": float((first[others].max(0) >= own[place]).mean()),
            "by_translation": float((own[others].max(0) >= own[place]).mean()),
            "by_wrong": float((wrong[others].max(0) >= own[place]).mean()),
            "first": float(leading[place]),
        }
    return result
