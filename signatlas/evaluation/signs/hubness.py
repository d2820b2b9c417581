"""Corrections of a trained space: centering by source, and hubness reduction (CSLS, inverted softmax)."""

from __future__ import annotations

import numpy as np


def center(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Subtract ``mean`` [D] from ``vectors`` [N, D] and normalize them to unit length.

    With one mean per source this removes the constant offset between sources.
    """
    centered = vectors - mean
    return centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), 1e-12)


def csls(scores: np.ndarray, gallery_to_bank: np.ndarray, query_to_gallery: np.ndarray, *, k: int = 10) -> np.ndarray:
    """Return cross-domain similarity local scaling: 2 cos(q, g) - r(q) - r(g) (Conneau et al. 2018, Eq. 3).

    ``scores`` [Q, G] are cosines. r(g) is the mean of the ``k`` largest of ``gallery_to_bank`` [G, M], the cosines
    between the gallery and a bank of clips from the queries' source (not the queries themselves); r(q) likewise over
    ``query_to_gallery`` [Q, G'].
    """
    return 2 * scores - _mean_of_largest(query_to_gallery, k)[:, None] - _mean_of_largest(gallery_to_bank, k)[None]


def _mean_of_largest(scores: np.ndarray, k: int) -> np.ndarray:
    k = min(k, scores.shape[1])
    return np.partition(scores, -k, axis=1)[:, -k:].mean(1)


def inverted_softmax(scores: np.ndarray, gallery_to_bank: np.ndarray, *, beta: float = 20.0) -> np.ndarray:
    """Return the log of the inverted softmax: beta s(q, g) - log sum over the bank of exp(beta s(b, g)).

    An item that is similar to all of the bank [G, M] has a large sum and ranks lower. ``scores`` [Q, G]. Smith et al.
    2017.
    """
    scaled = beta * gallery_to_bank
    peak = scaled.max(1, keepdims=True)
    total = np.log(np.exp(scaled - peak).sum(1)) + peak[:, 0]
    return beta * scores - total[None]
