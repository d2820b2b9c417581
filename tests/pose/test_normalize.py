"""Normalization, filling, mirroring and resampling of poses."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from signatlas.errors import PoseError
from signatlas.pose import skeleton as sk
from signatlas.pose.normalize import TORSO_PER_PALM, check, check_query, fill, fixed_length, mirror, normalize


def signing(frames: int = 20, *, body: bool = True, seed: int = 0) -> np.ndarray:
    """Return random but plausible points with shoulders and hips in view."""
    rng = np.random.default_rng(seed)
    poses = rng.uniform(0.3, 0.7, (frames, 75, 3)).astype(np.float32)
    poses[:, sk.LEFT_SHOULDER, :2], poses[:, sk.RIGHT_SHOULDER, :2] = (0.6, 0.4), (0.4, 0.4)
    poses[:, sk.LEFT_HIP, :2], poses[:, sk.RIGHT_HIP, :2] = (0.57, 0.8), (0.43, 0.8)
    if not body:
        poses[:, 1:33] = np.nan
    return poses


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0.3, 1.2), st.floats(-0.2, 0.15), st.floats(-0.2, 0.15), st.booleans(), st.sampled_from([None, 0.5, 1.5])
)
def test_position_and_distance_of_the_signer_do_not_matter(size, dx, dy, body, aspect):
    assume(0.8 * size + dy <= 0.999)  # below the image, hips are not used
    poses = signing(body=body)
    moved = poses * np.float32(size) + np.array([dx, dy, 0], np.float32)
    np.testing.assert_allclose(normalize(moved, aspect), normalize(poses, aspect), rtol=1e-3, atol=1e-4)


def test_the_unit_is_the_torso_and_the_origin_the_shoulder_midpoint():
    points = normalize(signing())
    shoulders = points[:, [sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER], :2].mean(1)
    hips = points[:, [sk.LEFT_HIP, sk.RIGHT_HIP], :2].mean(1)
    np.testing.assert_allclose(shoulders, 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(hips - shoulders, axis=1), 1, rtol=1e-5)


def test_hips_below_the_image_are_not_used():
    poses = signing()
    poses[:, [sk.LEFT_HIP, sk.RIGHT_HIP], 1] = 1.7
    width = np.linalg.norm(normalize(poses)[0, sk.LEFT_SHOULDER, :2] - normalize(poses)[0, sk.RIGHT_SHOULDER, :2])
    assert width == pytest.approx(1 / 1.3, rel=1e-5)


def test_without_a_body_the_palm_gives_the_scale():
    poses = np.full((5, 75, 3), np.nan, np.float32)
    poses[:, sk.NOSE, :2] = (0.5, 0.2)
    poses[:, sk.RIGHT_HAND, :2] = 0.5
    poses[:, 54 + sk.HAND_MIDDLE_MCP, :2] = (0.5, 0.4)
    points = normalize(poses)
    palm = np.linalg.norm(points[0, 54 + sk.HAND_MIDDLE_MCP, :2] - points[0, 54, :2])
    assert palm == pytest.approx(1 / TORSO_PER_PALM, rel=1e-5)
    assert np.isnan(points[:, sk.LEFT_HAND]).all()


def test_aspect_multiplies_x_and_z_only():
    poses = signing()
    stretched = poses * np.array([2, 1, 2], np.float32)
    np.testing.assert_allclose(normalize(poses, 2.0), normalize(stretched), rtol=1e-4, atol=1e-5)


def test_two_dimensional_points_miss_only_z():
    poses = signing()
    poses[..., 2] = np.nan
    points = normalize(poses)
    assert np.isfinite(points[..., :2]).all()
    assert np.isnan(points[..., 2]).all()


def test_fill_interpolates_missing_coordinates_and_not_zeros():
    points = np.zeros((5, 75, 3), np.float32)
    points[:, 40, 0] = [0, np.nan, np.nan, 3, np.nan]
    points[:, 41] = np.nan
    filled = fill(points)
    np.testing.assert_allclose(filled.coordinates[:, 40, 0], [0, 1, 2, 3, 3])
    assert filled.present[:, 40].tolist() == [True, False, False, True, False]
    assert filled.present[:, 42].all(), "a point at zero was detected"
    assert not filled.present[:, 41].any()
    assert (filled.coordinates[:, 41] == 0).all()


def test_mirroring_twice_changes_nothing():
    points = normalize(signing())
    np.testing.assert_array_equal(mirror(mirror(points)), points)
    np.testing.assert_allclose(mirror(points)[:, sk.LEFT_HAND, 0], -points[:, sk.RIGHT_HAND, 0])


def test_mirroring_the_image_mirrors_the_normalized_pose():
    poses = signing()
    image = (poses * np.array([-1, 1, 1], np.float32) + np.array([1, 0, 0], np.float32))[:, sk.MIRROR]
    np.testing.assert_allclose(normalize(image), mirror(normalize(poses)), atol=1e-5)


def test_fixed_length_includes_both_ends():
    values = np.arange(7, dtype=np.float32)[:, None]
    assert fixed_length(values, 13)[[0, 6, 12], 0].tolist() == [0, 3, 6]
    assert fixed_length(values, 3)[:, 0].tolist() == [0, 3, 6]
    assert fixed_length(values[:1], 4)[:, 0].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("poses", "message"),
    [
        (np.zeros((4, 178, 3)), r"shape \[4, 178, 3\], expected \[frames, 75, 3\]"),
        (np.zeros((0, 75, 3)), "empty"),
        (np.full((4, 75, 3), np.nan), "neither face nor hands"),
        (np.full((4, 75, 3), np.inf), "infinite"),
    ],
)
def test_unusable_poses_are_one_line(poses, message):
    with pytest.raises(PoseError, match=message) as error:
        check(poses, "clip 7")
    assert "\n" not in str(error.value)
    assert "clip 7" in str(error.value)


def test_fingers_without_wrist_face_or_body_are_normalized():
    poses = np.full((4, 75, 3), np.nan, np.float32)
    poses[:, 54 + 5 : 54 + 9, :2] = np.random.default_rng(0).uniform(0.4, 0.6, (4, 4, 2))
    points = normalize(check(poses))
    assert np.isfinite(points[:, 54 + 5 : 54 + 9, :2]).all()
    assert fill(points).present.any()


@pytest.mark.parametrize("aspect", [None, 1.5, 1e38])
def test_coordinates_that_overflow_are_an_error_and_not_missing(aspect):
    poses = signing()
    poses[:, sk.RIGHT_HAND] = 3e38
    with pytest.raises(PoseError, match="too large to be normalized: are they in image units"):
        normalize(poses, aspect)


def test_a_query_needs_a_visible_hand_and_a_corpus_clip_does_not():
    body_only = signing()
    body_only[:, sk.NUM_BODY :] = np.nan
    missing_as_zeros = signing()
    missing_as_zeros[:, sk.NUM_BODY :] = 0
    for poses in (body_only, missing_as_zeros):
        np.testing.assert_array_equal(check(poses), poses)
        with pytest.raises(PoseError, match=r"^recording: no hand is visible in any frame: record with") as error:
            check_query(poses, "recording")
        assert "\n" not in str(error.value)
    with pytest.raises(PoseError, match="neither face nor hands"):
        check_query(np.full((4, 75, 3), np.nan))


@pytest.mark.parametrize("hand", [sk.LEFT_HAND, sk.RIGHT_HAND])
@pytest.mark.parametrize("landmarks", [1, 2, 21])
def test_one_hand_in_one_frame_is_enough_for_a_query(hand, landmarks):
    poses = signing()
    poses[:, sk.NUM_BODY :] = np.nan
    poses[3, hand.start : hand.start + landmarks] = signing()[3, hand.start : hand.start + landmarks]
    np.testing.assert_array_equal(check_query(poses.astype(np.float64)), poses)


@pytest.mark.parametrize("size", [1e6, 3e38])
def test_a_query_with_absurd_coordinates_is_refused(size):
    poses = signing()
    poses[2, 60, 1] = -size
    with pytest.raises(PoseError, match=r"coordinates up to \S+: write them in image units, 0 to 1"):
        check_query(poses)
    np.testing.assert_array_equal(check_query(signing() * 4000), signing() * 4000)  # pixels of a large image
