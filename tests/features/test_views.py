"""Training windows: from the right clip, with the sign in the middle, deterministic."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from signatlas.features.views import SegmentViews, ViewConfig, WindowViews
from signatlas.pose.augment import AugmentConfig
from signatlas.pose.prepared_clips import PreparedClips

NO_AUGMENTATION = AugmentConfig(
    time_warp=0, rotation=0, shear=0, scale=0, aspect=0, noise=0, frame_dropout=0, hand_dropout=0
)  # fmt: skip


@pytest.fixture(scope="module")
def bank() -> PreparedClips:
    """Return twelve still clips; the nose of clip n is at x = n + 1."""
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
    """Return the clip of each frame [B, F] of a view; fractional in transitions between two clips."""
    return points[..., 0, 0] - 1


def views(context: float, frames: int = 16) -> WindowViews:
    config = ViewConfig(context=context, sign=0.3, transition=2)
    return WindowViews(config, NO_AUGMENTATION, "nose_hands", frames, seed=0, others=np.arange(12))


def test_without_context_a_window_shows_only_its_clip(bank: PreparedClips) -> None:
    clips = np.arange(12)
    points, present, keep = views(0.0)(bank, clips, 0, clips)
    assert points.shape == (12, 16, 43, 3) and present.shape == (12, 16, 43) and keep.all()
    np.testing.assert_allclose(owners(points), np.repeat(clips[:, None], 16, 1), atol=1e-4)


@pytest.mark.parametrize("frames", [16, 5])
def test_with_context_the_sign_is_in_the_middle(bank: PreparedClips, frames: int) -> None:
    clips = np.tile(np.arange(12), 20)
    points, _, _ = views(1.0, frames)(bank, clips, 3, np.arange(len(clips)))
    np.testing.assert_allclose(owners(points)[:, frames // 2], clips, atol=1e-4)
    share = (np.abs(owners(points) - clips[:, None]) < 1e-3).mean()
    assert 0.4 < share < 0.95, "other signs before and after"


def test_a_view_depends_only_on_its_position(bank: PreparedClips) -> None:
    clips = np.arange(12)
    whole = views(0.5)(bank, clips, 1, clips)
    part = views(0.5)(bank, clips[5:9], 1, clips[5:9])
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(a[5:9], b)
    other = views(0.5)(bank, clips, 2, clips)
    assert not np.array_equal(whole[0], other[0])


def test_dev_windows_are_deterministic(bank: PreparedClips) -> None:
    first, again, another = (views(0.5).still(bank, 3, draw)[0] for draw in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, another)


def test_segment_windows_lie_inside_their_segments() -> None:
    poses = np.full((60, 75, 3), np.nan, np.float32)
    poses[:, 0, :2], poses[:, 33:, :2] = (0.5, 0.1), 0.5
    bank = PreparedClips([(poses, None)], "nose_hands")
    bank.coordinates[:, 0, 0] = np.arange(60)  # the frame's number
    drawn = SegmentViews(NO_AUGMENTATION, "nose_hands", 16, seed=0)
    segments = np.tile(np.array([[0, 20, 44], [0, 30, 46]]), (20, 1))
    points, _ = drawn.of(bank, segments, 0, np.arange(len(segments)))
    frames = points[..., 0, 0]
    assert (frames[::2, 0] >= 20).all() and (frames[::2, -1] < 44).all()
    assert len(set(frames[::2, 0].tolist())) > 3, "random positions in a longer segment"
    np.testing.assert_allclose(frames[1::2], np.arange(30, 46)[None].repeat(20, 0))
    np.testing.assert_allclose(np.diff(frames, axis=1), 1.0)


def test_shortest_above_longest_is_rejected() -> None:
    with pytest.raises(ValidationError, match="greater than longest"):
        ViewConfig(shortest=0.8, longest=0.5)
