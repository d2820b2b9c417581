"""Augmentation: views depend only on (seed, epoch, position), and missing points stay missing."""

import numpy as np
import pytest

from signatlas.pose.augment import AugmentConfig, Augmenter
from signatlas.pose.prepared_clips import PreparedClips

OFF = dict.fromkeys(AugmentConfig.model_fields, 0.0)


@pytest.fixture(scope="module")
def prepared():
    rng = np.random.default_rng(0)
    clips = [rng.uniform(0.2, 0.8, (n, 75, 3)).astype(np.float32) for n in (7, 30, 12, 1)]
    for clip in clips:
        clip[:, 1:33] = np.nan
    clips[2][:, 33:54] = np.nan
    return PreparedClips([(clip, None) for clip in clips], "nose_hands")


def augmenter(frames=16, seed=3, **strengths):
    return Augmenter(AugmentConfig(**{**OFF, **strengths}), "nose_hands", frames, seed)


def test_without_augmentation_views_are_resampled_clips(prepared):
    indices = np.arange(4)
    points, present, keep = augmenter()(prepared, indices, 0, indices)
    plain, plain_present = prepared.at(indices, prepared.even_times(indices, 16))
    np.testing.assert_allclose(points, plain, atol=1e-5)
    np.testing.assert_array_equal(present, plain_present)
    assert keep.all()


def test_views_do_not_depend_on_the_batch(prepared):
    augment = Augmenter(AugmentConfig(mirror=0.5, shift=0.1, hand_scale=0.1, jitter=0.1), "nose_hands", 16, 1)
    indices, positions = np.array([0, 1, 2, 1]), np.array([10, 11, 12, 13])
    whole = augment(prepared, indices, 5, positions)
    halves = [augment(prepared, indices[s], 5, positions[s]) for s in (slice(0, 2), slice(2, 4))]
    for i, array in enumerate(whole):
        np.testing.assert_array_equal(array, np.concatenate([half[i] for half in halves]))
    other_epoch = augment(prepared, indices, 6, positions)
    assert not np.allclose(whole[0], other_epoch[0])
    assert not np.allclose(whole[0][1], whole[0][3]), "two positions of one clip give two views"


@pytest.mark.parametrize(
    "name", sorted(set(AugmentConfig.model_fields) - {"frame_dropout", "depth_dropout", "hand_dropout"})
)
def test_each_augmentation_changes_views_and_keeps_missing_points_missing(prepared, name):
    points, present, _ = augmenter(**{name: 0.45})(prepared, np.array([2] * 8), 0, np.arange(8))
    plain, _ = prepared.at(np.array([2] * 8), prepared.even_times(np.array([2] * 8), 16))
    assert not np.allclose(points, plain)
    assert np.isfinite(points).all()
    absent = ~present.any(1)
    assert (np.abs(points).sum((1, 3))[absent] == 0).all()


def test_a_view_keeps_at_least_one_frame(prepared):
    _, _, keep = augmenter(frame_dropout=0.99)(prepared, np.zeros(64, int), 0, np.arange(64))
    assert keep.any(1).all()
    assert keep.mean() < 0.2


def test_mirroring_changes_the_signing_hand(prepared):
    _, present, _ = augmenter(mirror=1.0)(prepared, np.array([2]), 0, np.array([0]))
    assert present[0, :, 1:22].any(), "clip 2 shows the right hand; mirrored, the left"
    assert not present[0, :, 22:].any()


def test_depth_dropout_removes_only_z(prepared):
    points, _, _ = augmenter(depth_dropout=1.0)(prepared, np.array([1]), 0, np.array([0]))
    plain, _ = prepared.at(np.array([1]), prepared.even_times(np.array([1]), 16))
    assert (points[..., 2] == 0).all()
    np.testing.assert_allclose(points[..., :2], plain[..., :2], atol=1e-6)


def test_hand_dropout_removes_the_hand_that_is_detected_less_often():
    rng = np.random.default_rng(0)
    clip = rng.uniform(0.2, 0.8, (10, 75, 3)).astype(np.float32)
    clip[3:, 33:54] = np.nan
    points, present, _ = augmenter(hand_dropout=1.0)(
        PreparedClips([(clip, None)], "nose_hands"), np.array([0]), 0, np.array([0])
    )
    assert not present[0, :, 1:22].any()
    assert (points[0, :, 1:22] == 0).all()
    assert present[0, :, 22:].all()


def test_views_share_no_random_numbers():
    augment = Augmenter(AugmentConfig(), "nose_hands", 16, 1)
    draws = [augment._generator(2, position).random(4000) for position in range(4)]
    for i in range(4):
        for j in range(i):
            assert not set(draws[i].tolist()) & set(draws[j].tolist())
