"""What is done to a finished space: means taken out, hubs pushed down."""

from __future__ import annotations

import numpy as np

from signatlas.evaluation.signs.hubness import center, csls, inverted_softmax
from signatlas.metrics.retrieval import evaluate


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_center_gives_unit_vectors_without_the_mean() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 16)) + 3
    moved = center(vectors, vectors.mean(0))
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1)
    assert np.linalg.norm(moved.mean(0)) < 0.1


def test_center_per_source_undoes_a_constant_shift_of_a_source() -> None:
    rng = np.random.default_rng(1)
    gallery = rng.normal(size=(300, 16))
    queries = gallery + rng.normal(size=gallery.shape) * 0.3
    shift = 4 * unit(rng.normal(size=(1, 16)))
    shifted = unit(queries + shift)
    right = np.eye(300, dtype=bool)
    before = evaluate(shifted @ unit(gallery).T, right)["R@1"]
    after = evaluate(center(shifted, shifted.mean(0)) @ center(unit(gallery), unit(gallery).mean(0)).T, right)["R@1"]
    assert after > before + 0.1


def hubby() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Queries, bank and gallery where item 0 is the queries' mean direction: near to all of them."""
    rng = np.random.default_rng(2)
    gallery = unit(rng.normal(size=(80, 12)) + 0.5)
    noisy = [unit(gallery + rng.normal(size=gallery.shape) * 0.2 + 0.4) for _ in range(3)]
    gallery[0] = unit(np.ones((1, 12)))
    bank = np.concatenate(noisy[1:])
    return noisy[0][1:], bank, gallery, np.eye(80, dtype=bool)[1:]


def test_hubness_corrections_push_down_what_is_near_to_everything() -> None:
    queries, bank, gallery, right = hubby()
    scores, to_bank = queries @ gallery.T, gallery @ bank.T
    hub_first = (scores.argmax(1) == 0).sum()
    assert hub_first > 20
    for adjusted in (csls(scores, to_bank, scores), inverted_softmax(scores, to_bank)):
        assert (adjusted.argmax(1) == 0).sum() < hub_first / 2
        assert evaluate(adjusted, right)["R@1"] > evaluate(scores, right)["R@1"]


def test_csls_is_its_equation() -> None:
    queries, bank, gallery, _ = hubby()
    scores, to_bank = queries @ gallery.T, gallery @ bank.T
    q, g = 5, 7
    expected = 2 * scores[q, g] - np.sort(scores[q])[-4:].mean() - np.sort(to_bank[g])[-4:].mean()
    np.testing.assert_allclose(csls(scores, to_bank, scores, k=4)[q, g], expected)


def test_inverted_softmax_is_a_probability_over_the_bank() -> None:
    _, bank, gallery, _ = hubby()
    to_bank = gallery @ bank.T
    np.testing.assert_allclose(np.exp(inverted_softmax(to_bank.T, to_bank, beta=9.0)).sum(0), 1)
