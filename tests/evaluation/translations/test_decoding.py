"""Batches of like lengths, and parts of an evaluation that outlive a stop."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from signatlas.evaluation.translations.decoding import Batch, Decoded, Parts, batches, gathered

LENGTHS = {"a": 3, "b": 9, "c": 3, "d": 5, "e": 1}


def test_clips_of_like_length_are_together_the_longest_first_and_each_once() -> None:
    found = batches(LENGTHS, ["a", "b", "c", "a"], ["e", "d"], 2)
    assert found == [Batch(["b", "a"], True), Batch(["c"], True), Batch(["d", "e"], False)]
    assert batches(LENGTHS, ["c", "b", "a"], ["d", "e"], 2) == found


def test_parts_are_kept_and_read_again_and_go_when_something_changed(tmp_path: Path) -> None:
    target, key = tmp_path / "out", {"weights": "x", "beams": 8}
    wanted = batches(LENGTHS, ["a", "b"], ["c", "d", "e"], 1)
    parts = Parts(target, key)
    vectors = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    parts.keep(wanted[0], Decoded(["b"], ["zwei\nZeilen"], vectors[:1]))
    assert Parts(target, key).missing(wanted) == wanted[1:]
    parts.keep(wanted[1], Decoded(["a"], [""], vectors[1:2]))
    parts.keep(wanted[2], Decoded(wanted[2].ids, [], vectors))
    texts, found = gathered(wanted, Parts(target, key))
    assert texts == {"a": "", "b": "zwei\nZeilen"}
    assert set(found) == set(LENGTHS)
    np.testing.assert_array_equal(found["a"], vectors[1])
    np.testing.assert_array_equal(found[wanted[2].ids[2]], vectors[2])
    assert Parts(target, key | {"beams": 4}).missing(wanted) == wanted
    assert list(tmp_path.iterdir()) == []  # what another setting left is of no use
