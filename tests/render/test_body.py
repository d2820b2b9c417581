"""What is invented of a body stays near what was found, and never reaches the poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signatlas.pose import skeleton as sk
from signatlas.pose.serialization import read_pose
from signatlas.render.body import FOREARM, UPPER_ARM, bent, figure, likely_aspect

from .made import HAND, nose_and_hands


def test_a_body_is_invented_around_nose_and_hands() -> None:
    poses = nose_and_hands()
    before = poses.copy()
    found = figure(poses, 1.0)
    np.testing.assert_array_equal(poses, before)
    assert found is not None and found.unit == pytest.approx(0.09, abs=0.002)
    for name in ("head", "eyes", "mouth", "shoulders", "elbows", "wrists", "hips"):
        assert np.isfinite(getattr(found, name)).all() and len(getattr(found, name)) == 20, name
    left, right = found.shoulders[0]
    assert right[0] < 0.5 < left[0] and right[1] == left[1] > 0.3  # not mirrored, below the nose
    np.testing.assert_allclose(found.wrists[:, 1], poses[:, sk.RIGHT_HAND.start, :2])
    assert np.isnan(found.hands[:, 0]).all()  # no hand is invented
    assert (found.wrists[:, 0, 1] > left[1] + 4 * found.unit).all()  # the arm without one hangs down


def test_known_body_points_are_kept_and_unseen_moments_bridged() -> None:
    poses = nose_and_hands()
    body = {sk.LEFT_SHOULDER: (0.7, 0.5), sk.RIGHT_SHOULDER: (0.3, 0.5), sk.LEFT_ELBOW: (0.75, 0.7),
            sk.RIGHT_ELBOW: (0.2, 0.7), sk.LEFT_WRIST: (0.7, 0.85), sk.RIGHT_WRIST: (0.35, 0.7)}  # fmt: skip
    for point, place in body.items():
        poses[:, point, :2] = place
    poses[5:9, sk.BODY] = np.nan
    found = figure(poses, 2.0)
    assert found is not None and found.unit == pytest.approx(0.8 / 3.85, rel=1e-3)
    np.testing.assert_allclose(found.shoulders, np.tile([[1.4, 0.5], [0.6, 0.5]], (20, 1, 1)), rtol=1e-5)
    np.testing.assert_allclose(found.elbows, np.tile([[1.5, 0.7], [0.4, 0.7]], (20, 1, 1)), rtol=1e-5)
    np.testing.assert_allclose(found.wrists[0, 0], (1.4, 0.85), rtol=1e-5)


def test_short_gaps_of_a_hand_are_bridged_and_long_ones_not() -> None:
    poses = nose_and_hands(40)
    poses[5:9, sk.RIGHT_HAND] = np.nan
    poses[20:32, sk.RIGHT_HAND] = np.nan
    found = figure(poses, 1.0, bridge=5)
    assert found is not None
    seen = np.isfinite(found.hands[:, 1, :, :2]).all((1, 2))
    assert seen[5:9].all() and not seen[20:32].any() and seen[32:].all()
    height = found.wrists[:, 1, 1]
    assert (
        height[26] > height[19] + found.unit and np.abs(np.diff(height)).max() < 0.5 * found.unit * 3
    )  # sinks, no jump
    assert np.isnan(poses[5:9, sk.RIGHT_HAND]).all()


def test_elbows_hang_and_bones_keep_their_length() -> None:
    shoulder = np.zeros((3, 2))
    wrist = np.array([(0.2, -0.2), (0.3, 0.1), (-0.1, 0.5)])
    elbow = bent(shoulder, wrist, 0.1, -1.0)
    assert (np.linalg.norm(elbow, axis=-1) <= UPPER_ARM * 0.1 + 1e-6).all()
    assert (np.linalg.norm(wrist - elbow, axis=-1) <= FOREARM * 0.1 + 1e-6).all()
    assert (elbow[:2, 1] > wrist[:2, 1]).all()  # below a raised hand
    far = bent(np.zeros((1, 2)), np.array([[2.0, 0.0]]), 0.1, 1.0)  # out of reach: stretched, and between the two
    assert np.isfinite(far).all() and 0.8 < far[0, 0] < 1.3 and abs(far[0, 1]) < 0.3


@pytest.mark.parametrize("turn", np.linspace(0, 2 * np.pi, 13))
def test_elbows_do_not_jump(turn: float) -> None:
    """A hand that moves a little moves the elbow a little, wherever it is."""
    path = np.array([(0.25 * np.cos(a), 0.25 * np.sin(a)) for a in turn + np.linspace(0, 0.05, 6)])
    steps = np.linalg.norm(np.diff(bent(np.zeros((6, 2)), path, 0.1, 1.0), axis=0), axis=-1)
    assert steps.max() < 0.05


def test_shoulders_alone_get_a_head_and_nothing_at_all_is_nobody() -> None:
    poses = np.full((4, sk.NUM_POINTS, 3), np.nan, np.float32)
    assert figure(poses, 1.0) is None
    poses[:, sk.LEFT_SHOULDER, :2], poses[:, sk.RIGHT_SHOULDER, :2] = (0.7, 0.6), (0.3, 0.6)
    found = figure(poses, 1.0)
    assert found is not None and (found.head[:, 1] < 0.6).all() and np.allclose(found.head[:, 0], 0.5, atol=1e-4)
    hands_only = nose_and_hands()
    hands_only[:, sk.NOSE] = np.nan
    assert figure(hands_only, 1.0) is not None


def test_the_nearer_hand_comes_last() -> None:
    poses = nose_and_hands()
    poses[:, sk.LEFT_HAND, :2] = HAND * (-1, 1) + (0.6, 0.7)
    poses[:, sk.LEFT_WRIST], poses[:, sk.RIGHT_WRIST] = (0.6, 0.7, -0.9), (0.35, 0.7, -0.2)
    by_depth = figure(poses, 1.0)
    assert by_depth is not None and (by_depth.nearness[:, 0] > by_depth.nearness[:, 1]).all()
    poses[:, [sk.LEFT_WRIST, sk.RIGHT_WRIST], 2] = np.nan
    poses[12:, sk.RIGHT_HAND, :2] = 1.6 * HAND + (0.35, 0.7)
    by_size = figure(poses, 1.0)
    assert by_size is not None and by_size.nearness[18, 1] > by_size.nearness[18, 0]


def test_the_body_tells_the_proportions_of_the_picture() -> None:
    poses = np.full((4, sk.NUM_POINTS, 3), np.nan, np.float32)
    assert likely_aspect(poses) is None and likely_aspect(nose_and_hands()) is None
    for aspect in (9 / 16, 1.0, 4 / 3, 16 / 9):
        poses[:, sk.NOSE, :2] = (0.5, 0.3)
        poses[:, sk.LEFT_SHOULDER, :2] = (0.5 + 0.165 / aspect, 0.5)
        poses[:, sk.RIGHT_SHOULDER, :2] = (0.5 - 0.165 / aspect, 0.5)
        assert likely_aspect(poses) == aspect


def test_the_proportions_of_a_real_video(mirror: Path | None) -> None:
    """In a lexicon of 640 x 480 no nose is known: nothing is told. Its shoulders are the right way round."""
    for path in sorted((mirror / "pose_lexicon").glob("**/*.pose")) if mirror else []:
        read = read_pose(path)
        found = figure(read.poses, read.width / read.height)
        assert likely_aspect(read.poses) is None and found is not None
        assert (found.shoulders[:, 0, 0] > found.shoulders[:, 1, 0]).all() and (found.nose[:, 1] > 0).mean() > 0.9
