"""One order of results: by score, then by position, for any batch, shards and ties."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signatlas.errors import IndexVersionError
from signatlas.retrieval import faiss_index as index
from signatlas.retrieval.shard import merge


def unit(rng: np.random.Generator, n: int, dims: int = 8) -> np.ndarray:
    x = rng.normal(size=(n, dims)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def expected(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rank all entries by their exact inner products, one pair at a time."""
    exact = [[(q.astype(np.float64) * v.astype(np.float64)).sum() for v in vectors] for q in queries]
    scores = np.array(exact, np.float32).reshape(len(queries), len(vectors))
    order = np.array([sorted(range(len(vectors)), key=lambda n: (-row[n], n))[:k] for row in scores], np.int64)
    return np.take_along_axis(scores, order, 1), order


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 6), st.integers(1, 9), st.integers(0, 10_000))
def test_ties_are_ordered_by_position(n: int, k: int, distinct: int, num_queries: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Few distinct vectors, each many times: nearly every rank is tied, rank k included.
    vectors = unit(rng, distinct)[rng.integers(0, distinct, n)]
    queries = unit(rng, num_queries)
    scores, positions = index.search(index.build(vectors), queries, k)
    want_scores, want_positions = expected(vectors, queries, min(k, n))
    np.testing.assert_array_equal(positions, want_positions)
    np.testing.assert_array_equal(scores, want_scores)


@pytest.mark.parametrize(("num_queries", "norm"), [(1, 1), (3, 1), (4, 1), (4, 1000), (33, 1), (70, 1)])
def test_scores_closer_than_float32_sums_are_ordered_exactly(
    num_queries: int, norm: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries around one direction: a float32 matrix product or FAISS alone confuses their order."""
    monkeypatch.setattr(index, "PRODUCT_ROWS", 90)
    monkeypatch.setattr(index, "RESCORED_ELEMENTS", 5_000)
    rng = np.random.default_rng(0)
    vectors = unit(rng, 1, 96) + 3e-8 * rng.normal(size=(300, 96)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = np.float32(norm) * unit(rng, num_queries, 96)
    built = index.build(vectors)
    want_scores, want_positions = expected(vectors, queries, 10)
    scores, positions = index.search(built, queries, 10)
    np.testing.assert_array_equal(scores, want_scores)
    np.testing.assert_array_equal(positions, want_positions)
    rounded = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :10]
    assert (rounded != want_positions).any() and (built.search(queries, 10)[1] != want_positions).any()


@pytest.mark.parametrize("k", [10, 499, 500, 900])
def test_a_score_does_not_depend_on_the_batch(k: int) -> None:
    rng = np.random.default_rng(0)
    built, queries = index.build(unit(rng, 500, 64)), unit(rng, 70, 64)
    together = index.search(built, queries, k)
    alone = [index.search(built, q[None], k) for q in queries]
    np.testing.assert_array_equal(together[0], np.concatenate([s for s, _ in alone]))
    np.testing.assert_array_equal(together[1], np.concatenate([p for _, p in alone]))


def test_scores_are_those_of_the_vectors_whatever_found_the_candidates() -> None:
    """An index on a GPU is no IndexFlat here; it finds candidates for vectors that stayed behind."""
    rng = np.random.default_rng(0)
    vectors, queries = unit(rng, 300, 64), unit(rng, 40, 64)
    flat, elsewhere = index.build(vectors), faiss.IndexReplicas(64)
    elsewhere.add_replica(flat)
    assert index.flat_vectors(elsewhere) is None
    for found, wanted in zip(
        index.search(elsewhere, queries, 10, vectors), index.search(flat, queries, 10), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("factory", ["HNSW32", "IVF4,Flat"])
def test_other_factories_find_their_own_vectors(factory: str) -> None:
    vectors = unit(np.random.default_rng(1), 400, 16)
    _, positions = index.search(index.build(vectors, factory), vectors[:50], 1)
    assert (positions[:, 0] == np.arange(50)).mean() > 0.9


@pytest.mark.parametrize("factory", ["Nonsense9", "IVF4096,Flat"])
def test_an_invalid_factory_is_one_line(factory: str) -> None:
    with pytest.raises(IndexVersionError, match=f"FAISS cannot build '{factory}' over 10 vectors") as caught:
        index.build(unit(np.random.default_rng(1), 10), factory)
    assert "\n" not in str(caught.value)


def test_an_empty_shard_gives_no_results() -> None:
    scores, positions = index.search(index.build(np.zeros((0, 8), np.float32)), unit(np.random.default_rng(0), 2), 5)
    assert scores.shape == positions.shape == (2, 0)


def test_merging_is_by_score_then_id_and_keeps_the_better_of_two() -> None:
    left = [("b", 0.9), ("d", 0.5), ("e", 0.1)]
    right = [("a", 0.9), ("c", 0.5), ("b", 0.7)]
    expected = [("a", 0.9), ("b", 0.9), ("c", 0.5), ("d", 0.5), ("e", 0.1)]
    assert merge([left, right], 10) == merge([right, left], 10) == expected
    assert merge([left, right], 3) == expected[:3]
    assert merge([[], left], 1) == [("b", 0.9)]
