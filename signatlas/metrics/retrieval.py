"""Retrieval metrics: recall at K, mean average precision, ranks, and bootstrap intervals. Ties count as errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

CUTOFFS = (1, 5, 10, 50)
RESAMPLED_AT_A_TIME = 1 << 20  # values


def _recall_at(cutoff: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda ranks: np.mean(ranks <= cutoff, -1)


# How the values [..., Q] of `per_query` become metrics [...].
STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    **{f"R@{k}": _recall_at(k) for k in CUTOFFS},
    "mAP": lambda precisions: np.mean(precisions, -1),
    "MRR": lambda ranks: np.mean(1.0 / ranks, -1),
    "MedR": lambda ranks: np.median(ranks, -1),
    "MeanR": lambda ranks: np.mean(ranks, -1),
}


def _validated(scores: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, relevant = np.asarray(scores), np.asarray(relevant, bool)
    if scores.ndim != 2 or scores.shape != relevant.shape:
        raise ValueError(f"scores {scores.shape} and relevant {relevant.shape} must both be [queries, gallery]")
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).any(1).sum())} of {len(scores)} queries have NaN scores")
    return scores, relevant


def ranks(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Return ranks: 1 + the number of irrelevant items that score at least as high as the best relevant one.

    Takes scores [Q, G] (higher is more similar) and relevant [Q, G] bool; returns int64 [Q], 0 for a query without a
    relevant item. Raises ValueError for NaN and for different shapes.
    """
    scores, relevant = _validated(scores, relevant)
    best = np.where(relevant, scores, -np.inf).max(1, initial=-np.inf, keepdims=True)
    rank = 1 + ((scores >= best) & ~relevant).sum(1)
    return np.where(relevant.any(1), rank, 0)


def average_precision(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Return average precision over the full ranking; among equal scores, irrelevant items come first.

    AP = 1/r * sum over relevant items of (relevant items down to it) / (its position). Shapes and errors as in
    :func:`ranks`; returns float64 [Q], NaN for a query without a relevant item.
    """
    scores, relevant = _validated(scores, relevant)
    order = np.lexsort((relevant, -scores), axis=-1)
    hits = np.take_along_axis(relevant, order, 1)
    precision = hits.cumsum(1) / np.arange(1, hits.shape[1] + 1)
    counts = hits.sum(1)
    return np.where(counts > 0, (precision * hits).sum(1) / np.maximum(counts, 1), np.nan)


def per_query(scores: np.ndarray, relevant: np.ndarray) -> dict[str, np.ndarray]:
    """Return by metric the value [Q] of each query that ``STATISTICS`` aggregates: its AP for mAP, else its rank.

    Queries without a relevant item are left out, so Q may be smaller than the number of rows.
    """
    valid = np.asarray(relevant, bool).any(1)
    rank, precision = ranks(scores, relevant)[valid], average_precision(scores, relevant)[valid]
    return {name: precision if name == "mAP" else rank for name in STATISTICS}


def evaluate(scores: np.ndarray, relevant: np.ndarray) -> dict[str, float]:
    """Return all metrics of a ranking: R@1, R@5, R@10, R@50, mAP, MRR (0..1), MedR, MeanR (from 1), queries, left_out.

    Takes scores [Q, G] and relevant [Q, G] bool. ``R@K`` is the share of queries with a relevant item in the top K.
    Queries without a relevant item are left out and counted. Raises ValueError for NaN, for different shapes, and
    when no query has a relevant item.
    """
    values = per_query(scores, relevant)
    queries = len(values["mAP"])
    if queries == 0:
        raise ValueError("no query has a relevant item in the gallery")
    metrics: dict[str, float] = {name: float(statistic(values[name])) for name, statistic in STATISTICS.items()}
    return {**metrics, "queries": queries, "left_out": len(scores) - queries}


def rank_metrics(ranks: np.ndarray, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, np.ndarray]:
    """Return R@K, MRR, MedR and MeanR of ranks [..., Q], computed over the last axis, each [...]."""
    ranks = np.asarray(ranks)
    return {
        **{f"R@{k}": (ranks <= k).mean(-1) for k in cutoffs},
        "MRR": (1.0 / ranks).mean(-1),
        "MedR": np.median(ranks, -1),
        "MeanR": ranks.mean(-1),
    }


def mean_rank_variance(ranks: np.ndarray) -> float:
    """Return the mean over Q queries of the population variance of their K ranks, ``ranks`` [K, Q]: a row a variant."""
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
    """Return the percentile bootstrap interval ``(low, high)`` of ``statistic(values)`` over queries (Efron 1979).

    ``values`` [Q] holds one number per query. With ``groups`` [Q] (signers, words), whole groups are resampled: use
    this where queries of one group depend on each other.
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


def bootstrap_metrics(
    values: Mapping[str, np.ndarray],
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    groups: Sequence[object] | np.ndarray | None = None,
) -> dict[str, tuple[float, float]]:
    """Return the intervals of :func:`bootstrap` for each metric of ``values``, arrays [Q] as of :func:`per_query`.

    Equal to one call for each metric, but all metrics share what is resampled.
    """
    arrays = {name: np.asarray(array) for name, array in values.items()}
    count = len(next(iter(arrays.values())))
    rng = np.random.default_rng(seed)
    estimates: dict[str, list[np.ndarray]] = {name: [] for name in arrays}
    if groups is None:
        rows = max(1, RESAMPLED_AT_A_TIME // max(count, 1))
        draws = (rng.integers(count, size=(min(rows, samples - n), count)) for n in range(0, samples, rows))
    else:
        _, member = np.unique(np.asarray(groups), return_inverse=True)
        blocks = [np.flatnonzero(member == g) for g in range(member.max() + 1)]
        draws = (
            np.concatenate([blocks[g] for g in rng.integers(len(blocks), size=len(blocks))])[None]
            for _ in range(samples)
        )
    for drawn in draws:
        for name, array in arrays.items():
            estimates[name].append(STATISTICS[name](array[drawn]))
    ends = [(1 - level) / 2, (1 + level) / 2]
    intervals = {name: np.quantile(np.concatenate(parts), ends) for name, parts in estimates.items()}
    return {name: (float(low), float(high)) for name, (low, high) in intervals.items()}


def bootstrap_rank_metrics(
    ranks: np.ndarray, *, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Return percentile bootstrap intervals over queries for all of :func:`rank_metrics`, for ranks [Q]."""
    values = {name: np.asarray(ranks) for name in STATISTICS if name != "mAP"}
    return bootstrap_metrics(values, samples=samples, seed=seed, level=level)
