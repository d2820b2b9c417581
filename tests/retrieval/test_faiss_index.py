"""One order of results: by score, then by position, for any batch, shards and ties."""

from __future__ import annotations

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


def expected_positions(vectors: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    return np.lexsort((np.broadcast_to(np.arange(len(vectors)), scores.shape), -scores.round(6)), axis=1)[:, :k]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 6), st.integers(0, 10_000))
def test_ties_are_ordered_by_position(n: int, k: int, distinct: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Few distinct vectors, each many times: nearly every rank is tied, rank k included.
    vectors = unit(rng, distinct)[rng.integers(0, distinct, n)]
    queries = unit(rng, 3)
    scores, positions = index.search(index.build(vectors), queries, k)
    assert positions.shape == (3, min(k, n))
    np.testing.assert_array_equal(positions, expected_positions(vectors, queries, min(k, n)))
    assert (np.diff(scores, axis=1) <= 0).all()


def test_a_score_does_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(0)
    built, queries = index.build(unit(rng, 500, 64)), unit(rng, 70, 64)
    together = index.search(built, queries, 10)
    alone = [index.search(built, q[None], 10) for q in queries]
    np.testing.assert_array_equal(together[0], np.concatenate([s for s, _ in alone]))
    np.testing.assert_array_equal(together[1], np.concatenate([p for _, p in alone]))


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
