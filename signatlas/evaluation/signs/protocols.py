"""Who asks whom: gallery and query protocols, and the report of the ranking they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from signatlas.errors import UserError
from signatlas.evaluation.chance import expected
from signatlas.evaluation.signs.space import Space, similarities
from signatlas.metrics.retrieval import STATISTICS, bootstrap, evaluate, per_query, ranks


@dataclass(frozen=True)
class Ranking:
    """Scores of queries against their galleries.

    ``query_ids`` [Q]; ``gallery_ids`` [Q, G], each query's own gallery; ``scores`` [Q, G], higher is nearer;
    ``relevant`` [Q, G] bool; ``query_glosses`` [Q], for intervals over words.
    """

    query_ids: np.ndarray
    gallery_ids: np.ndarray
    scores: np.ndarray
    relevant: np.ndarray
    query_glosses: np.ndarray

    def __post_init__(self) -> None:
        shape = (len(self.query_ids), self.gallery_ids.shape[1])
        if not (self.gallery_ids.shape == self.scores.shape == self.relevant.shape == shape):
            raise ValueError(f"gallery {self.gallery_ids.shape}, scores {self.scores.shape}, expected {shape}")

    def only(self, keep: np.ndarray) -> Ranking:
        """The queries that the mask [Q] accepts."""
        return Ranking(
            self.query_ids[keep],
            self.gallery_ids[keep],
            self.scores[keep],
            self.relevant[keep],
            self.query_glosses[keep],
        )

    def rescored(self, scores: np.ndarray) -> Ranking:
        """The same queries and galleries under other scores [Q, G]."""
        return Ranking(self.query_ids, self.gallery_ids, scores, self.relevant, self.query_glosses)


def rank(queries: Space, gallery: Space) -> Ranking:
    """Score every query against the gallery; what has the query's gloss is relevant.

    A query that is in the gallery is taken out of its own gallery. Either all queries are in it or none: anything
    else would compare queries against galleries of different size. Raises UserError for that and for empty parts.
    """
    if not len(queries) or not len(gallery):
        raise UserError(f"{len(queries)} queries against {len(gallery)} clips: neither may be empty; check the filters")
    scores = similarities(queries, gallery)
    relevant = queries.glosses[:, None] == gallery.glosses[None]
    relevant &= np.array([gloss is not None for gloss in queries.glosses])[:, None]
    ids = np.broadcast_to(gallery.ids, scores.shape)
    own = queries.ids[:, None] == gallery.ids[None]
    if own.any():
        if not (own.sum(1) == 1).all():
            raise UserError(
                f"{int(own.any(1).sum())} of {len(queries)} queries are in the gallery themselves: "
                "choose filters so that all or none are"
            )
        shape = (len(queries), len(gallery) - 1)
        ids, scores, relevant = (part[~own].reshape(shape) for part in (ids, scores, relevant))
    return Ranking(queries.ids, ids, scores, relevant, queries.glosses)


def gallery_and_queries(space: Space, split: str, gallery_split: str = "train") -> Ranking:
    """Protocol A: the clips of ``split`` ask those of ``gallery_split``."""
    return rank(space.where(lambda row: row["split"] == split), space.where(lambda row: row["split"] == gallery_split))


def leave_one_out(space: Space, split: str) -> Ranking:
    """Protocol B: each clip of ``split`` asks all others of it."""
    part = space.where(lambda row: row["split"] == split)
    return rank(part, part)


def report(
    ranking: Ranking,
    *,
    seed: int = 0,
    samples: int = 2000,
    groups: Sequence[object] | np.ndarray | None = None,
) -> dict[str, Any]:
    """Figures of a ranking, their 95 % bootstrap intervals over queries (and over ``groups`` [Q]), and chance.

    Returns ``{"metrics", "intervals", "chance", "queries", "left_out", "gallery"}`` and, with ``groups``,
    ``"group_intervals"``. Raises UserError when no query has a relevant item or a score is NaN.
    """
    try:
        metrics = evaluate(ranking.scores, ranking.relevant)
    except ValueError as error:
        raise UserError(f"{error}; check the filters and the model") from error
    values = per_query(ranking.scores, ranking.relevant)
    counted = ranking.relevant.any(1)

    def intervals(groups: np.ndarray | None) -> dict[str, tuple[float, float]]:
        return {
            name: bootstrap(values[name], statistic, samples=samples, seed=seed, groups=groups)
            for name, statistic in STATISTICS.items()
        }

    result: dict[str, Any] = {
        "metrics": {name: metrics[name] for name in STATISTICS},
        "intervals": intervals(None),
        "chance": expected(ranking.relevant.sum(1)[counted], ranking.relevant.shape[1]),
        "queries": metrics["queries"],
        "left_out": metrics["left_out"],
        "gallery": ranking.relevant.shape[1],
    }
    if groups is not None:
        result["group_intervals"] = intervals(np.asarray(groups)[counted].astype(str))
    return result


def failures(ranking: Ranking, count: int = 20) -> list[dict[str, Any]]:
    """The queries whose best relevant item stands lowest: id, gloss, rank and the id that took the first place."""
    rank_of = ranks(ranking.scores, ranking.relevant)
    worst = np.argsort(-rank_of, kind="stable")[:count]
    return [
        {
            "query": str(ranking.query_ids[q]),
            "gloss": ranking.query_glosses[q],
            "rank": int(rank_of[q]),
            "first": str(ranking.gallery_ids[q, ranking.scores[q].argmax()]),
        }
        for q in worst
        if rank_of[q] > 1
    ]
