"""Motion of hands from and to poses: gaps, mirroring, interpolation."""

from __future__ import annotations

import numpy as np
import pytest

from signatlas.pose import skeleton as sk
from signatlas.synthetic.composition.motion import LEFT, LONGEST_GAP, RIGHT, Motion, from_poses, to_poses
from tests.synthetic.conftest import recording


def motion_of(word: str = "many0") -> Motion:
    motion = from_poses(recording(word, 0, palm=0.1, wide=1.0, source="s", split="train").poses)
    assert motion is not None
    return motion


def test_poses_and_motion_are_inverse() -> None:
    motion = motion_of()
    nose = np.full((len(motion), 2), (0.5, 0.3))
    poses = to_poses(motion, nose, 0.04)
    again = from_poses(poses)
    assert again is not None
    palm = np.median(np.linalg.norm(motion.shapes[:, :, 9], axis=-1))
    np.testing.assert_allclose(again.wrists, motion.wrists / palm, atol=1e-4)
    np.testing.assert_allclose(again.shapes, motion.shapes / palm, atol=1e-4)
    assert np.isnan(poses[..., 2]).all(), "composition is two-dimensional"
    assert np.isnan(poses[:, 1 : sk.NUM_BODY]).all(), "no body points"


def test_motion_does_not_depend_on_the_scale_of_the_camera() -> None:
    near, far = (
        from_poses(recording("many1", 3, palm=palm, wide=1.0, source="s", split="train").poses) for palm in (0.1, 0.03)
    )
    assert near is not None and far is not None
    np.testing.assert_allclose(near.wrists, far.wrists, atol=1e-4)


@pytest.mark.parametrize(("missing", "interpolated"), [(LONGEST_GAP, True), (LONGEST_GAP + 1, False)])
def test_only_short_gaps_are_interpolated(missing: int, interpolated: bool) -> None:
    poses = recording("many0", 0, palm=0.1, wide=1.0, source="s", split="train").poses.copy()
    poses[10 : 10 + missing, sk.LEFT_HAND] = np.nan
    motion = from_poses(poses)
    assert motion is not None
    assert motion.seen[10 : 10 + missing, LEFT].all() == interpolated
    assert np.isfinite(motion.wrists).all()
    assert motion.seen[:, RIGHT].all()


def test_poses_without_nose_or_hands_give_no_motion() -> None:
    poses = recording("many0", 0, palm=0.1, wide=1.0, source="s", split="train").poses
    for points in ([sk.NOSE], range(sk.NUM_BODY, sk.NUM_POINTS)):
        incomplete = poses.copy()
        incomplete[:, list(points)] = np.nan
        assert from_poses(incomplete) is None


def test_mirroring_twice_changes_nothing() -> None:
    motion = motion_of()
    again = motion.mirrored().mirrored()
    np.testing.assert_array_equal(again.wrists, motion.wrists)
    np.testing.assert_array_equal(motion.mirrored().wrists[:, RIGHT, 0], -motion.wrists[:, LEFT, 0])


def test_interpolation_is_linear_and_clamped_at_the_ends() -> None:
    motion = motion_of()
    sampled = motion.at(np.array([-3.0, 0.0, 2.5, 1e9]))
    np.testing.assert_allclose(sampled.wrists[2], (motion.wrists[2] + motion.wrists[3]) / 2)
    np.testing.assert_allclose(sampled.wrists[[0, 3]], motion.wrists[[0, -1]])


def test_hands_outside_the_picture_are_nan() -> None:
    motion = motion_of()
    low = Motion(motion.wrists + np.array([0, 30.0]), motion.shapes, motion.seen)
    poses = to_poses(low, np.full((len(low), 2), (0.5, 0.3)), 0.04)
    assert np.isnan(poses[:, sk.NUM_BODY :]).all()
