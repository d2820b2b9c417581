"""Spaces: filters, similarities, keypoint vectors."""

from __future__ import annotations

import numpy as np
import pytest

from signatlas.corpus.format import Corpus
from signatlas.errors import UserError
from signatlas.evaluation.signs.protocols import gallery_and_queries
from signatlas.evaluation.signs.space import KeypointEncoder, Space, parse_filter


def space(count: int = 12, words: int = 3, seed: int = 0) -> Space:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [
        {"id": f"clip {i}", "gloss": f"w{i % words}", "split": "train" if i < count // 2 else "test", "source": "s"}
        for i in range(count)
    ]
    return Space(rows, vectors)


@pytest.mark.parametrize(
    ("text", "expected_ids"),
    [
        ("split=test,gloss=w0", ["clip 6", "clip 9"]),
        ("split=test, gloss!=w0|w1", ["clip 8", "clip 11"]),
        ("id=clip 3|clip 4", ["clip 3", "clip 4"]),
    ],
)
def test_filter_syntax(text: str, expected_ids: list[str]) -> None:
    assert space().where(parse_filter(text)).ids.tolist() == expected_ids


@pytest.mark.parametrize(("text", "message"), [("split", "cannot read 'split'"), ("color=red", "no column 'color'")])
def test_invalid_filters_raise(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_filter(text)


def test_euclidean_ranks_by_distance() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(12, 5)).astype(np.float32) * rng.uniform(1, 5, (12, 1)).astype(np.float32)
    part = Space(space().rows, vectors, similarity="euclidean")
    ranking = gallery_and_queries(part, "test")
    distances = np.linalg.norm(vectors[6:, None] - vectors[None, :6], axis=-1)
    np.testing.assert_allclose(ranking.scores, -(distances**2), rtol=1e-4, atol=1e-4)


def test_keypoint_vectors_are_invariant_to_position_and_scale(two_part_corpus: Corpus) -> None:
    from dataclasses import replace

    clip = next(iter(two_part_corpus))
    moved = replace(clip, poses=(clip.poses * 0.7 + np.float32(0.1)).astype(np.float32))
    vectors = KeypointEncoder().embed_clips([clip, moved])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-4)
    assert not np.isnan(vectors).any()
