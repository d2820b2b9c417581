"""Corrections of a trained space: centering and hubness reduction."""

from __future__ import annotations

import numpy as np

from signatlas.evaluation.signs.hubness import center, csls, inverted_softmax
from signatlas.metrics.retrieval import evaluate


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_center_returns_unit_vectors_without_the_mean() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 16)) + 3
    centered = center(vectors, vectors.mean(0))
    np.testing.assert_allclose(np.linalg.norm(centered, axis=1), 1)
    assert np.linalg.norm(centered.mean(0)) < 0.1


def test_center_by_source_removes_a_constant_shift() -> None:
    rng = np.random.default_rng(1)
    gallery = rng.normal(size=(300, 16))
    queries = gallery + rng.normal(size=gallery.shape) * 0.3
    shift = 4 * unit(rng.normal(size=(1, 16)))
    shifted = unit(queries + shift)
    relevant = np.eye(300, dtype=bool)
    before = evaluate(shifted @ unit(gallery).T, relevant)["R@1"]
    after = evaluate(center(shifted, shifted.mean(0)) @ center(unit(gallery), unit(gallery).mean(0)).T, relevant)["R@1"]
    assert after > before + 0.1


def space_with_hub() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return queries, bank, gallery and relevance; item 0 is the queries' mean direction, similar to all of them."""
    rng = np.random.default_rng(2)
    gallery = unit(rng.normal(size=(80, 12)) + 0.5)
    noisy = [unit(gallery + rng.normal(size=gallery.shape) * 0.2 + 0.4) for _ in range(3)]
    gallery[0] = unit(np.ones((1, 12)))
    bank = np.concatenate(noisy[1:])
    return noisy[0][1:], bank, gallery, np.eye(80, dtype=bool)[1:]


def test_corrections_lower_the_rank_of_a_hub() -> None:
    queries, bank, gallery, relevant = space_with_hub()
    scores, to_bank = queries @ gallery.T, gallery @ bank.T
    hub_first = (scores.argmax(1) == 0).sum()
    assert hub_first > 20
    for adjusted in (csls(scores, to_bank, scores), inverted_softmax(scores, to_bank)):
        assert (adjusted.argmax(1) == 0).sum() < hub_first / 2
        assert evaluate(adjusted, relevant)["R@1"] > evaluate(scores, relevant)["R@1"]


def test_csls_equals_its_equation() -> None:
    queries, bank, gallery, _ = space_with_hub()
    scores, to_bank = queries @ gallery.T, gallery @ bank.T
    q, g = 5, 7
    expected = 2 * scores[q, g] - np.sort(scores[q])[-4:].mean() - np.sort(to_bank[g])[-4:].mean()
    np.testing.assert_allclose(csls(scores, to_bank, scores, k=4)[q, g], expected)


def test_inverted_softmax_is_a_probability_over_the_bank() -> None:
    _, bank, gallery, _ = space_with_hub()
    to_bank = gallery @ bank.T
    np.testing.assert_allclose(np.exp(inverted_softmax(to_bank.T, to_bank, beta=9.0)).sum(0), 1)
