"""Batches of similar lengths, and partial results that survive an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from signatlas.evaluation.translations.decoding import Batch, Decoded, PartialResults, make_batches

LENGTHS = {"a": 3, "b": 9, "c": 3, "d": 5, "e": 1}


def test_batches_have_similar_lengths_longest_first_and_each_clip_once() -> None:
    batches = make_batches(LENGTHS, ["a", "b", "c", "a"], ["e", "d"], 2)
    assert batches == [Batch(["b", "a"], True), Batch(["c"], True), Batch(["d", "e"], False)]
    assert make_batches(LENGTHS, ["c", "b", "a"], ["d", "e"], 2) == batches


def test_partial_results_are_read_again_and_removed_when_the_key_changes(tmp_path: Path) -> None:
    target, key = tmp_path / "out", {"weights": "x", "beams": 8}
    batches = make_batches(LENGTHS, ["a", "b"], ["c", "d", "e"], 1)
    parts = PartialResults(target, key)
    vectors = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    parts.write(batches[0], Decoded(["b"], ["zwei\nZeilen"], vectors[:1]))
    assert PartialResults(target, key).missing(batches) == batches[1:]
    parts.write(batches[1], Decoded(["a"], [""], vectors[1:2]))
    parts.write(batches[2], Decoded(batches[2].ids, [], vectors))
    texts, by_clip = PartialResults(target, key).collect(batches)
    assert texts == {"a": "", "b": "zwei\nZeilen"}
    assert set(by_clip) == set(LENGTHS)
    np.testing.assert_array_equal(by_clip["a"], vectors[1])
    np.testing.assert_array_equal(by_clip[batches[2].ids[2]], vectors[2])
    assert PartialResults(target, key | {"beams": 4}).missing(batches) == batches
    assert list(tmp_path.iterdir()) == []  # partial results of other settings are removed
