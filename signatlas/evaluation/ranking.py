"""Rankings of queries against a gallery, their metrics with intervals and chance level, and the worst queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from signatlas.errors import UserError
from signatlas.evaluation.chance import expected
from signatlas.metrics.retrieval import STATISTICS, bootstrap_metrics, evaluate, per_query, ranks


@dataclass(frozen=True)
class Ranking:
    """Scores of queries against their galleries.

    ``query_ids`` [Q]; ``gallery_ids`` [Q, G], each query's own gallery; ``scores`` [Q, G], higher is more similar;
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
        """Return the queries that the mask bool [Q] selects."""
        return Ranking(
            self.query_ids[keep],
            self.gallery_ids[keep],
            self.scores[keep],
            self.relevant[keep],
            self.query_glosses[keep],
        )

    def rescored(self, scores: np.ndarray) -> Ranking:
        """Return the same queries and galleries with other scores [Q, G]."""
        return Ranking(self.query_ids, self.gallery_ids, scores, self.relevant, self.query_glosses)


def summarize(
    ranking: Ranking,
    *,
    seed: int = 0,
    samples: int = 2000,
    groups: Sequence[object] | np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the metrics of a ranking with 95 % bootstrap intervals over queries (and over ``groups`` [Q]) and chance.

    The keys are ``metrics``, ``intervals``, ``chance``, ``queries``, ``left_out``, ``gallery`` and, with ``groups``,
    ``group_intervals``. Raises UserError when no query has a relevant item or a score is NaN.
    """
    try:
        metrics = evaluate(ranking.scores, ranking.relevant)
    except ValueError as error:
        raise UserError(f"{error}; check the filters and the model") from error
    values = per_query(ranking.scores, ranking.relevant)
    valid = ranking.relevant.any(1)

    def intervals(groups: np.ndarray | None) -> dict[str, tuple[float, float]]:
        return bootstrap_metrics(values, samples=samples, seed=seed, groups=groups)

    result: dict[str, Any] = {
        "metrics": {name: metrics[name] for name in STATISTICS},
        "intervals": intervals(None),
        "chance": expected(ranking.relevant.sum(1)[valid], ranking.relevant.shape[1]),
        "queries": metrics["queries"],
        "left_out": metrics["left_out"],
        "gallery": ranking.relevant.shape[1],
    }
    if groups is not None:
        result["group_intervals"] = intervals(np.asarray(groups)[valid].astype(str))
    return result


def worst_queries(ranking: Ranking, count: int = 20) -> list[dict[str, Any]]:
    """Return the queries of the highest ranks: id, gloss, rank, and the id of the item that came first."""
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
