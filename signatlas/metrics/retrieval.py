"""How well a ranking puts what is relevant first. Ties always count against the query."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

CUTOFFS = (1, 5, 10, 50)


def _recall_at(cutoff: int) -> Callable[[np.ndarray], float]:
    return lambda ranks: float(np.mean(ranks <= cutoff))


# What summarizes the values of `per_query` into one figure.
STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    **{f"R@{k}": _recall_at(k) for k in CUTOFFS},
    "mAP": lambda precisions: float(np.mean(precisions)),
    "MRR": lambda ranks: float(np.mean(1.0 / ranks)),
    "MedR": lambda ranks: float(np.median(ranks)),
    "MeanR": lambda ranks: float(np.mean(ranks)),
}


def _checked(scores: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, relevant = np.asarray(scores), np.asarray(relevant, bool)
    if scores.ndim != 2 or scores.shape != relevant.shape:
        raise ValueError(f"scores {scores.shape} and relevant {relevant.shape} must both be [queries, gallery]")
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).any(1).sum())} of {len(scores)} queries have NaN scores")
    return scores, relevant


def ranks(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Rank of each query: 1 + the number of irrelevant items that score at least as high as its best relevant one.

    Takes scores [Q, G] (higher is nearer) and relevant [Q, G] bool; returns int64 [Q], 0 where a query has no
    relevant item. Raises ValueError for NaN or shapes that differ.
    """
    scores, relevant = _checked(scores, relevant)
    best = np.where(relevant, scores, -np.inf).max(1, initial=-np.inf, keepdims=True)
    found = 1 + ((scores >= best) & ~relevant).sum(1)
    return np.where(relevant.any(1), found, 0)


def average_precision(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Average precision over the full ranking, irrelevant items first among equal scores.

    AP = 1/r * sum over relevant items of (relevant items down to it) / (its position). Shapes and errors as in
    :func:`ranks`; returns float64 [Q], NaN where a query has no relevant item.
    """
    scores, relevant = _checked(scores, relevant)
    order = np.lexsort((relevant, -scores), axis=-1)
    hits = np.take_along_axis(relevant, order, 1)
    precision = hits.cumsum(1) / np.arange(1, hits.shape[1] + 1)
    counts = hits.sum(1)
    return np.where(counts > 0, (precision * hits).sum(1) / np.maximum(counts, 1), np.nan)


def per_query(scores: np.ndarray, relevant: np.ndarray) -> dict[str, np.ndarray]:
    """The value per query [Q] that each figure of ``STATISTICS`` summarizes: its rank, or its AP for mAP.

    Queries without a relevant item are left out, so Q may be smaller than the number of rows.
    """
    counted = np.asarray(relevant, bool).any(1)
    rank, precision = ranks(scores, relevant)[counted], average_precision(scores, relevant)[counted]
    return {name: precision if name == "mAP" else rank for name in STATISTICS}


def evaluate(scores: np.ndarray, relevant: np.ndarray) -> dict[str, float]:
    """All figures of a ranking: R@1, R@5, R@10, R@50, mAP, MRR (0..1), MedR, MeanR (from 1), queries, left_out.

    Takes scores [Q, G] and relevant [Q, G] bool. ``R@K`` is the share of queries with a relevant item in the top K.
    Queries without a relevant item are left out and counted. Raises ValueError for NaN, shapes that differ, or when
    no query has a relevant item.
    """
    values = per_query(scores, relevant)
    queries = len(values["mAP"])
    if queries == 0:
        raise ValueError("no query has a relevant item in the gallery")
    figures: dict[str, float] = {name: statistic(values[name]) for name, statistic in STATISTICS.items()}
    return {**figures, "queries": queries, "left_out": len(scores) - queries}


def of_ranks(ranks: np.ndarray, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, np.ndarray]:
    """R@K, MRR, MedR and MeanR of ranks [..., Q] over their last axis, each [...]: a row a resample, for instance."""
    ranks = np.asarray(ranks)
    return {
        **{f"R@{k}": (ranks <= k).mean(-1) for k in cutoffs},
        "MRR": (1.0 / ranks).mean(-1),
        "MedR": np.median(ranks, -1),
        "MeanR": ranks.mean(-1),
    }


def mean_rank_variance(ranks: np.ndarray) -> float:
    """Mean over Q queries of the population variance of their K ranks, ``ranks`` [K, Q] (one row a query variant)."""
    return float(np.var(np.asarray(ranks, float), axis=0).mean())


def bootstrap(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], float],
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    groups: Sequence[object] | np.ndarray | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval ``(low, high)`` of ``statistic(values)`` over queries (Efron 1979).

    ``values`` [Q] holds one number per query. With ``groups`` [Q] (signers, words) whole groups are drawn, which is
    the honest interval when queries of one group resemble each other.
    """
    values = np.asarray(values)
    rng = np.random.default_rng(seed)
    if groups is None:
        estimates = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(samples)]
    else:
        _, member = np.unique(np.asarray(groups), return_inverse=True)
        blocks = [values[member == g] for g in range(member.max() + 1)]
        estimates = [
            statistic(np.concatenate([blocks[g] for g in rng.integers(len(blocks), size=len(blocks))]))
            for _ in range(samples)
        ]
    low, high = np.quantile(estimates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_of_ranks(
    ranks: np.ndarray, *, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """:func:`bootstrap` intervals over queries of all figures of :func:`of_ranks`, for ranks [Q], in one go."""
    ranks = np.asarray(ranks)
    drawn = ranks[np.random.default_rng(seed).integers(len(ranks), size=(samples, len(ranks)))]
    ends = [(1 - level) / 2, (1 + level) / 2]
    found = {name: np.quantile(values, ends) for name, values in of_ranks(drawn).items()}
    return {name: (float(low), float(high)) for name, (low, high) in found.items()}
