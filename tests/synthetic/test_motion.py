from __future__ import annotations

import numpy as np
import pytest

from signatlas.pose import skeleton as sk
from signatlas.synthetic.composition.motion import LEFT, LONGEST_GAP, RIGHT, Motion, from_poses, to_poses
from tests.synthetic.conftest import recording


def motion_of(word: str = "many0") -> Motion:
    found = from_poses(recording(word, 0, palm=0.1, wide=1.0, source="s", split="train").poses)
    assert found is not None
    return found


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
    assert np.isnan(poses[:, 1 : sk.NUM_BODY]).all(), "no body is invented"


def test_the_camera_does_not_matter() -> None:
    near, far = (
        from_poses(recording("many1", 3, palm=palm, wide=1.0, source="s", split="train").poses) for palm in (0.1, 0.03)
    )
    assert near is not None and far is not None
    np.testing.assert_allclose(near.wrists, far.wrists, atol=1e-4)


@pytest.mark.parametrize(("lost", "bridged"), [(LONGEST_GAP, True), (LONGEST_GAP + 1, False)])
def test_a_short_gap_is_bridged_and_a_long_one_is_not(lost: int, bridged: bool) -> None:
    poses = recording("many0", 0, palm=0.1, wide=1.0, source="s", split="train").poses.copy()
    poses[10 : 10 + lost, sk.LEFT_HAND] = np.nan
    motion = from_poses(poses)
    assert motion is not None
    assert motion.seen[10 : 10 + lost, LEFT].all() == bridged
    assert np.isfinite(motion.wrists).all()
    assert motion.seen[:, RIGHT].all()


def test_without_face_or_hands_there_is_no_motion() -> None:
    poses = recording("many0", 0, palm=0.1, wide=1.0, source="s", split="train").poses
    for gone in ([sk.NOSE], range(sk.NUM_BODY, sk.NUM_POINTS)):
        less = poses.copy()
        less[:, list(gone)] = np.nan
        assert from_poses(less) is None


def test_mirroring_twice_changes_nothing() -> None:
    motion = motion_of()
    again = motion.mirrored().mirrored()
    np.testing.assert_array_equal(again.wrists, motion.wrists)
    np.testing.assert_array_equal(motion.mirrored().wrists[:, RIGHT, 0], -motion.wrists[:, LEFT, 0])


def test_sampling_between_frames_is_linear_and_held_at_the_ends() -> None:
    motion = motion_of()
    sampled = motion.at(np.array([-3.0, 0.0, 2.5, 1e9]))
    np.testing.assert_allclose(sampled.wrists[2], (motion.wrists[2] + motion.wrists[3]) / 2)
    np.testing.assert_allclose(sampled.wrists[[0, 3]], motion.wrists[[0, -1]])


def test_a_hand_out_of_the_picture_is_not_found() -> None:
    motion = motion_of()
    low = Motion(motion.wrists + np.array([0, 30.0]), motion.shapes, motion.seen)
    poses = to_poses(low, np.full((len(low), 2), (0.5, 0.3)), 0.04)
    assert np.isnan(poses[:, sk.NUM_BODY :]).all()
