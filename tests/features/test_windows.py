"""Sliding windows: their number, positions and frames."""

from __future__ import annotations

import numpy as np
import pytest

from signatlas.corpus.format import Corpus
from signatlas.features import windows
from signatlas.pose.prepared_clips import PreparedClips


@pytest.mark.parametrize(("frames", "count"), [(1, 1), (15, 1), (16, 1), (17, 2), (100, 85)])
def test_number_of_windows_is_that_of_the_paper(frames: int, count: int) -> None:
    assert len(windows.starts(frames)) == max(1, frames - 15) == count


def test_a_limit_keeps_evenly_spaced_windows() -> None:
    first = windows.starts(300, limit=64)
    assert len(first) == 64 and (first[0], first[-1]) == (0, 284)
    assert (np.diff(first) > 0).all() and np.diff(first).max() - np.diff(first).min() <= 1
    assert windows.starts(60, stride=4).tolist() == list(range(0, 45, 4))


def test_centers_lie_in_the_middle_of_windows_and_inside_the_clip() -> None:
    assert windows.centers(18).tolist() == [7.5, 8.5, 9.5]
    assert windows.centers(5).tolist() == [4.0]
    assert len(windows.centers(475, limit=64)) == 64


@pytest.fixture(scope="module")
def bank(continuous_corpus) -> PreparedClips:
    return PreparedClips.from_clips(Corpus.open(continuous_corpus), "nose_hands", {})


def test_batched_windows_equal_single_ones(bank: PreparedClips) -> None:
    clip_indices, first = windows.all_starts(bank.lengths, limit=10)
    points, present = windows.take(bank, clip_indices, first, 16, 16)
    assert len(points) == sum(min(10, max(1, n - 15)) for n in bank.lengths)
    for row, (clip, start) in enumerate(zip(clip_indices, first, strict=True)):
        begin, length = bank.starts[clip], bank.lengths[clip]
        window = bank.coordinates[begin : begin + length][start : start + 16]
        padded = np.concatenate([window, np.repeat(window[-1:], 16 - len(window), 0)])  # last frame repeated
        np.testing.assert_array_equal(points[row], padded)
        assert present[row].any()


def test_windows_of_another_length_are_resampled(bank: PreparedClips) -> None:
    clip = np.array([4])  # 60 frames
    whole, _ = windows.take(bank, clip, np.array([8]), 31, 31)
    half, _ = windows.take(bank, clip, np.array([8]), 31, 16)
    np.testing.assert_allclose(half[0], whole[0, ::2], atol=1e-6)


def test_no_clips_have_no_windows() -> None:
    clip_indices, first = windows.all_starts(np.zeros(0, np.int64))
    assert len(clip_indices) == len(first) == 0
