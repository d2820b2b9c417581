"""Training windows: of the right clip, with the sign in the middle, the same whoever draws them."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from signatlas.features.views import SegmentViews, ViewConfig, WindowViews
from signatlas.pose.augment import AugmentConfig
from signatlas.pose.prepared_clips import PreparedClips

NOTHING = AugmentConfig(
    time_warp=0, rotation=0, shear=0, scale=0, aspect=0, noise=0, frame_dropout=0, hand_dropout=0
)  # fmt: skip


@pytest.fixture(scope="module")
def bank() -> PreparedClips:
    """Twelve still clips; the nose of clip n stands at x = n + 1 against the other points."""
    clips = []
    for n in range(12):
        poses = np.full((20 + n, 75, 3), np.nan, np.float32)
        poses[:, 33:, :2] = np.random.default_rng(n).uniform(0.3, 0.7, (42, 2))
        poses[:, 0, :2] = (0.5, 0.1)
        clips.append((poses, None))
    bank = PreparedClips(clips, "nose_hands")
    for n, (start, length) in enumerate(zip(bank.starts, bank.lengths, strict=True)):
        bank.coordinates[start : start + length, 0, 0] = n + 1
    return bank


def owners(points: np.ndarray) -> np.ndarray:
    """Clip each frame [B, F] of a view is of; fractions in movements between two clips."""
    return points[..., 0, 0] - 1


def views(context: float, frames: int = 16) -> WindowViews:
    config = ViewConfig(context=context, sign=0.3, transition=2)
    return WindowViews(config, NOTHING, "nose_hands", frames, seed=0, others=np.arange(12))


def test_without_context_a_window_shows_its_own_clip_alone(bank: PreparedClips) -> None:
    clips = np.arange(12)
    points, present, keep = views(0.0)(bank, clips, 0, clips)
    assert points.shape == (12, 16, 43, 3) and present.shape == (12, 16, 43) and keep.all()
    np.testing.assert_allclose(owners(points), np.repeat(clips[:, None], 16, 1), atol=1e-4)


@pytest.mark.parametrize("frames", [16, 5])
def test_with_context_the_middle_is_still_the_sign(bank: PreparedClips, frames: int) -> None:
    clips = np.tile(np.arange(12), 20)
    points, _, _ = views(1.0, frames)(bank, clips, 3, np.arange(len(clips)))
    np.testing.assert_allclose(owners(points)[:, frames // 2], clips, atol=1e-4)
    share = (np.abs(owners(points) - clips[:, None]) < 1e-3).mean()
    assert 0.4 < share < 0.95, "others stand before and after"


def test_a_view_depends_on_its_place_alone(bank: PreparedClips) -> None:
    clips = np.arange(12)
    whole = views(0.5)(bank, clips, 1, clips)
    part = views(0.5)(bank, clips[5:9], 1, clips[5:9])
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(a[5:9], b)
    other = views(0.5)(bank, clips, 2, clips)
    assert not np.array_equal(whole[0], other[0])


def test_dev_windows_stay_the_same(bank: PreparedClips) -> None:
    first, again, another = (views(0.5).still(bank, 3, draw)[0] for draw in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, another)


def test_a_segment_window_lies_inside_its_segment() -> None:
    poses = np.full((60, 75, 3), np.nan, np.float32)
    poses[:, 0, :2], poses[:, 33:, :2] = (0.5, 0.1), 0.5
    bank = PreparedClips([(poses, None)], "nose_hands")
    bank.coordinates[:, 0, 0] = np.arange(60)  # the frame's number
    drawn = SegmentViews(NOTHING, "nose_hands", 16, seed=0)
    segments = np.tile(np.array([[0, 20, 44], [0, 30, 46]]), (20, 1))
    points, _ = drawn.of(bank, segments, 0, np.arange(len(segments)))
    frames = points[..., 0, 0]
    assert (frames[::2, 0] >= 20).all() and (frames[::2, -1] < 44).all()
    assert len(set(frames[::2, 0].tolist())) > 3, "anywhere in a longer segment"
    np.testing.assert_allclose(frames[1::2], np.arange(30, 46)[None].repeat(20, 0))
    np.testing.assert_allclose(np.diff(frames, axis=1), 1.0)


def test_shares_out_of_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="more than longest"):
        ViewConfig(shortest=0.8, longest=0.5)
