"""Translation scores by sentence length."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from signatlas.plots.translations import length_groups, scores


def test_groups_partition_sentences_and_keep_equal_lengths_together() -> None:
    lengths = np.random.default_rng(0).integers(1, 25, 300)
    groups = length_groups(lengths)
    assert sorted(np.concatenate(groups).tolist()) == list(range(300))
    assert 4 <= len(groups) <= 8
    ranges = [(lengths[rows].min(), lengths[rows].max()) for rows in groups]
    assert all(first[1] < second[0] for first, second in pairwise(ranges))
    assert min(map(len, groups)) >= 5
    assert [len(rows) for rows in length_groups(np.array([3]))] == [1]
    assert [len(rows) for rows in length_groups(np.full(50, 7))] == [50]


def test_figures_of_one_and_of_many_sentences(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for count in (1, 200):
        values = {"model": rng.uniform(0, 100, count), "control": np.zeros(count)}
        scores(values, rng.integers(1, 20, count), tmp_path / f"{count}.png", title="made")
        assert (tmp_path / f"{count}.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no scores"):
        scores({}, np.zeros(0), tmp_path / "none.png")
