"""Windows over clips: how many, where, and that cutting them at once is cutting them one by one."""

from __future__ import annotations

import numpy as np
import pytest

from signatlas.corpus.format import Corpus
from signatlas.features import windows
from signatlas.pose.prepared_clips import PreparedClips


@pytest.mark.parametrize(("frames", "count"), [(1, 1), (15, 1), (16, 1), (17, 2), (100, 85)])
def test_a_clip_has_as_many_windows_as_the_paper_says(frames: int, count: int) -> None:
    assert len(windows.starts(frames)) == max(1, frames - 15) == count


def test_a_limit_keeps_windows_from_the_first_to_the_last() -> None:
    kept = windows.starts(300, limit=64)
    assert len(kept) == 64 and (kept[0], kept[-1]) == (0, 284)
    assert (np.diff(kept) > 0).all() and np.diff(kept).max() - np.diff(kept).min() <= 1
    assert windows.starts(60, stride=4).tolist() == list(range(0, 45, 4))


def test_centers_lie_in_the_middle_of_windows_and_inside_the_clip() -> None:
    assert windows.centers(18).tolist() == [7.5, 8.5, 9.5]
    assert windows.centers(5).tolist() == [4.0]
    assert len(windows.centers(475, limit=64)) == 64


@pytest.fixture(scope="module")
def bank(continuous_corpus) -> PreparedClips:
    return PreparedClips.from_clips(Corpus.open(continuous_corpus), "nose_hands", {})


def test_cutting_at_once_is_cutting_one_by_one(bank: PreparedClips) -> None:
    which, first = windows.all_starts(bank.lengths, limit=10)
    points, present = windows.take(bank, which, first, 16, 16)
    assert len(points) == sum(min(10, max(1, n - 15)) for n in bank.lengths)
    for row, (clip, start) in enumerate(zip(which, first, strict=True)):
        begin, length = bank.starts[clip], bank.lengths[clip]
        own = bank.coordinates[begin : begin + length][start : start + 16]
        padded = np.concatenate([own, np.repeat(own[-1:], 16 - len(own), 0)])  # a short clip stands still at its end
        np.testing.assert_array_equal(points[row], padded)
        assert present[row].any()


def test_windows_of_another_length_are_resampled(bank: PreparedClips) -> None:
    clip = np.array([4])  # 60 frames
    whole, _ = windows.take(bank, clip, np.array([8]), 31, 31)
    half, _ = windows.take(bank, clip, np.array([8]), 31, 16)
    np.testing.assert_allclose(half[0], whole[0, ::2], atol=1e-6)


def test_no_clips_have_no_windows() -> None:
    which, first = windows.all_starts(np.zeros(0, np.int64))
    assert len(which) == len(first) == 0
