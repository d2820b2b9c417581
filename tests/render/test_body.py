"""Estimated bodies: consistent with the detected points, without changing the poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signatlas.pose import skeleton as sk
from signatlas.pose.serialization import read_pose
from signatlas.render.body import FOREARM, UPPER_ARM, estimate_aspect, estimate_body, estimate_elbow
from tests.render.sample_poses import HAND, nose_and_hands


def test_bodies_are_estimated_from_nose_and_hands() -> None:
    poses = nose_and_hands()
    before = poses.copy()
    body = estimate_body(poses, 1.0)
    np.testing.assert_array_equal(poses, before)
    assert body is not None and body.unit == pytest.approx(0.09, abs=0.002)
    for name in ("head", "eyes", "mouth", "shoulders", "elbows", "wrists", "hips"):
        assert np.isfinite(getattr(body, name)).all() and len(getattr(body, name)) == 20, name
    left, right = body.shoulders[0]
    assert right[0] < 0.5 < left[0] and right[1] == left[1] > 0.3  # not mirrored, below the nose
    np.testing.assert_allclose(body.wrists[:, 1], poses[:, sk.RIGHT_HAND.start, :2])
    assert np.isnan(body.hands[:, 0]).all()  # missing hands stay missing
    assert (body.wrists[:, 0, 1] > left[1] + 4 * body.unit).all()  # the arm without one hangs down


def test_known_body_points_are_kept_and_gaps_interpolated() -> None:
    poses = nose_and_hands()
    body = {sk.LEFT_SHOULDER: (0.7, 0.5), sk.RIGHT_SHOULDER: (0.3, 0.5), sk.LEFT_ELBOW: (0.75, 0.7),
            sk.RIGHT_ELBOW: (0.2, 0.7), sk.LEFT_WRIST: (0.7, 0.85), sk.RIGHT_WRIST: (0.35, 0.7)}  # fmt: skip
    for point, place in body.items():
        poses[:, point, :2] = place
    poses[5:9, sk.BODY] = np.nan
    body = estimate_body(poses, 2.0)
    assert body is not None and body.unit == pytest.approx(0.8 / 3.85, rel=1e-3)
    np.testing.assert_allclose(body.shoulders, np.tile([[1.4, 0.5], [0.6, 0.5]], (20, 1, 1)), rtol=1e-5)
    np.testing.assert_allclose(body.elbows, np.tile([[1.5, 0.7], [0.4, 0.7]], (20, 1, 1)), rtol=1e-5)
    np.testing.assert_allclose(body.wrists[0, 0], (1.4, 0.85), rtol=1e-5)


def test_only_short_gaps_of_a_hand_are_interpolated() -> None:
    poses = nose_and_hands(40)
    poses[5:9, sk.RIGHT_HAND] = np.nan
    poses[20:32, sk.RIGHT_HAND] = np.nan
    body = estimate_body(poses, 1.0, bridge=5)
    assert body is not None
    seen = np.isfinite(body.hands[:, 1, :, :2]).all((1, 2))
    assert seen[5:9].all() and not seen[20:32].any() and seen[32:].all()
    height = body.wrists[:, 1, 1]
    assert height[26] > height[19] + body.unit and np.abs(np.diff(height)).max() < 0.5 * body.unit * 3  # sinks, no jump
    assert np.isnan(poses[5:9, sk.RIGHT_HAND]).all()


def test_elbows_hang_and_bones_keep_their_length() -> None:
    shoulder = np.zeros((3, 2))
    wrist = np.array([(0.2, -0.2), (0.3, 0.1), (-0.1, 0.5)])
    elbow = estimate_elbow(shoulder, wrist, 0.1, -1.0)
    assert (np.linalg.norm(elbow, axis=-1) <= UPPER_ARM * 0.1 + 1e-6).all()
    assert (np.linalg.norm(wrist - elbow, axis=-1) <= FOREARM * 0.1 + 1e-6).all()
    assert (elbow[:2, 1] > wrist[:2, 1]).all()  # below a raised hand
    far = estimate_elbow(
        np.zeros((1, 2)), np.array([[2.0, 0.0]]), 0.1, 1.0
    )  # out of reach: stretched, and between the two
    assert np.isfinite(far).all() and 0.8 < far[0, 0] < 1.3 and abs(far[0, 1]) < 0.3


@pytest.mark.parametrize("turn", np.linspace(0, 2 * np.pi, 13))
def test_elbows_do_not_jump(turn: float) -> None:
    """A small motion of a hand gives a small motion of the elbow."""
    path = np.array([(0.25 * np.cos(a), 0.25 * np.sin(a)) for a in turn + np.linspace(0, 0.05, 6)])
    steps = np.linalg.norm(np.diff(estimate_elbow(np.zeros((6, 2)), path, 0.1, 1.0), axis=0), axis=-1)
    assert steps.max() < 0.05


def test_shoulders_or_hands_suffice_for_a_body() -> None:
    poses = np.full((4, sk.NUM_POINTS, 3), np.nan, np.float32)
    assert estimate_body(poses, 1.0) is None
    poses[:, sk.LEFT_SHOULDER, :2], poses[:, sk.RIGHT_SHOULDER, :2] = (0.7, 0.6), (0.3, 0.6)
    body = estimate_body(poses, 1.0)
    assert body is not None and (body.head[:, 1] < 0.6).all() and np.allclose(body.head[:, 0], 0.5, atol=1e-4)
    hands_only = nose_and_hands()
    hands_only[:, sk.NOSE] = np.nan
    assert estimate_body(hands_only, 1.0) is not None


def test_nearness_is_larger_for_the_nearer_hand() -> None:
    poses = nose_and_hands()
    poses[:, sk.LEFT_HAND, :2] = HAND * (-1, 1) + (0.6, 0.7)
    poses[:, sk.LEFT_WRIST], poses[:, sk.RIGHT_WRIST] = (0.6, 0.7, -0.9), (0.35, 0.7, -0.2)
    by_depth = estimate_body(poses, 1.0)
    assert by_depth is not None and (by_depth.nearness[:, 0] > by_depth.nearness[:, 1]).all()
    poses[:, [sk.LEFT_WRIST, sk.RIGHT_WRIST], 2] = np.nan
    poses[12:, sk.RIGHT_HAND, :2] = 1.6 * HAND + (0.35, 0.7)
    by_size = estimate_body(poses, 1.0)
    assert by_size is not None and by_size.nearness[18, 1] > by_size.nearness[18, 0]


def test_the_aspect_is_estimated_from_the_body() -> None:
    poses = np.full((4, sk.NUM_POINTS, 3), np.nan, np.float32)
    assert estimate_aspect(poses) is None and estimate_aspect(nose_and_hands()) is None
    for aspect in (9 / 16, 1.0, 4 / 3, 16 / 9):
        poses[:, sk.NOSE, :2] = (0.5, 0.3)
        poses[:, sk.LEFT_SHOULDER, :2] = (0.5 + 0.165 / aspect, 0.5)
        poses[:, sk.RIGHT_SHOULDER, :2] = (0.5 - 0.165 / aspect, 0.5)
        assert estimate_aspect(poses) == aspect


def test_the_aspect_of_real_poses_without_a_nose_is_unknown(mirror: Path | None) -> None:
    """The pose lexicon has no nose points; left and right shoulders are not exchanged."""
    for path in sorted((mirror / "pose_lexicon").glob("**/*.pose")) if mirror else []:
        pose_file = read_pose(path)
        body = estimate_body(pose_file.poses, pose_file.width / pose_file.height)
        assert estimate_aspect(pose_file.poses) is None and body is not None
        assert (body.shoulders[:, 0, 0] > body.shoulders[:, 1, 0]).all() and (body.nose[:, 1] > 0).mean() > 0.9
