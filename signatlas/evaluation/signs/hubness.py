"""Mend a space after training: take out the mean of a source, and the hubs that are near to everything."""

from __future__ import annotations

import numpy as np


def center(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Subtract ``mean`` [D] from ``vectors`` [N, D] and bring them back to unit length.

    With one mean per source this takes away the constant by which sources differ.
    """
    moved = vectors - mean
    return moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)


def csls(scores: np.ndarray, gallery_to_bank: np.ndarray, query_to_gallery: np.ndarray, *, k: int = 10) -> np.ndarray:
    """Cross-domain similarity local scaling: 2 cos(q, g) - r(q) - r(g) (Conneau et al. 2018, equation 3).

    ``scores`` [Q, G] are cosines. r(g) is the mean of the ``k`` largest of ``gallery_to_bank`` [G, M], the cosines
    between the gallery and a bank of clips from the queries' source (not the queries themselves); r(q) likewise over
    ``query_to_gallery`` [Q, G'].
    """
    return 2 * scores - _mean_of_largest(query_to_gallery, k)[:, None] - _mean_of_largest(gallery_to_bank, k)[None]


def _mean_of_largest(scores: np.ndarray, k: int) -> np.ndarray:
    k = min(k, scores.shape[1])
    return np.partition(scores, -k, axis=1)[:, -k:].mean(1)


def inverted_softmax(scores: np.ndarray, gallery_to_bank: np.ndarray, *, beta: float = 20.0) -> np.ndarray:
    """log of the inverted softmax (Smith et al. 2017): beta s(q, g) - log sum over the bank of exp(beta s(b, g)).

    An item that is near to everything in the bank [G, M] has a large sum and falls. ``scores`` [Q, G].
    """
    scaled = beta * gallery_to_bank
    peak = scaled.max(1, keepdims=True)
    total = np.log(np.exp(scaled - peak).sum(1)) + peak[:, 0]
    return beta * scores - total[None]
