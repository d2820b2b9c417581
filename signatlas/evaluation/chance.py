"""Chance level: the expected retrieval metrics of a random order, in closed form."""

from __future__ import annotations

import numpy as np

from signatlas.metrics.retrieval import CUTOFFS


def rank_distribution(relevant: int, gallery: int) -> np.ndarray:
    """Return P(rank = k) for k = 1..G, float [G], when ``relevant`` of ``gallery`` items are shuffled.

    P(rank > k) = C(G - r, k) / C(G, k), computed as a product.
    """
    k = np.arange(gallery)
    beyond = np.cumprod(np.maximum(gallery - relevant - k, 0) / (gallery - k))
    return -np.diff(np.concatenate([[1.0], beyond]))


def expected_average_precision(relevant: int, gallery: int) -> float:
    """Return E[AP] = (H_G + (r - 1) / (G - 1) * (G - H_G)) / G, with H_G the harmonic number.

    An item is at position k with probability 1/G, and of the k - 1 items before it a share (r - 1) / (G - 1) is
    relevant.
    """
    harmonic = float((1 / np.arange(1, gallery + 1)).sum())
    others = (relevant - 1) / (gallery - 1) if gallery > 1 else 0.0
    return (harmonic + others * (gallery - harmonic)) / gallery


def expected(relevant: np.ndarray, gallery: int) -> dict[str, float]:
    """Return the expected R@K, mAP, MRR and MeanR, and the median of the pooled rank distribution (MedR).

    ``relevant`` [Q] counts each query's relevant items (at least 1) among ``gallery`` items.
    """
    counts, queries = np.unique(np.asarray(relevant), return_counts=True)
    if len(counts) == 0 or counts[0] < 1:
        raise ValueError("every query needs at least one relevant item")
    share = queries / queries.sum()
    position = np.arange(1, gallery + 1)
    pooled = sum(s * rank_distribution(int(r), gallery) for s, r in zip(share, counts, strict=True))
    cumulative = np.cumsum(pooled)
    return {
        **{f"R@{k}": float(cumulative[min(k, gallery) - 1]) for k in CUTOFFS},
        "mAP": float(sum(s * expected_average_precision(int(r), gallery) for s, r in zip(share, counts, strict=True))),
        "MRR": float((pooled / position).sum()),
        "MedR": float(position[np.searchsorted(cumulative, 0.5 - 1e-12)]),
        "MeanR": float((pooled * position).sum()),
    }
