"""Poses as `.pose` files and JSON: points by name, image units, missing points, damaged files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody
from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

from signatlas.errors import PoseError
from signatlas.pose import skeleton as sk
from signatlas.pose.serialization import COMPONENTS, from_json, parse_pose, read_pose, to_json, write_pose

HAND = list(COMPONENTS["LEFT_HAND_LANDMARKS"])


def pose_file(
    components: dict[str, list[str]], data: np.ndarray, confidence: np.ndarray, size: tuple[int, int]
) -> bytes:
    parts = [PoseHeaderComponent(n, p, [], [], "XYZC"[: data.shape[-1]] + "C") for n, p in components.items()]
    header = PoseHeader(0.2, PoseHeaderDimensions(*size), parts)
    buffer = io.BytesIO()
    Pose(header, NumPyPoseBody(24, data.astype(np.float32), confidence.astype(np.float32))).write(buffer)
    return buffer.getvalue()


def test_points_are_matched_by_name_in_any_order() -> None:
    # Fewer body points, a face, and the right hand first and in reverse order.
    parts = {"RIGHT_HAND_LANDMARKS": HAND[::-1], "FACE_LANDMARKS": ["0", "7"], "LEFT_HAND_LANDMARKS": HAND,
             "POSE_LANDMARKS": ["RIGHT_SHOULDER", "NOSE"]}  # fmt: skip
    total = 21 + 2 + 21 + 2
    data = np.arange(2 * total * 3, dtype=np.float32).reshape(2, 1, total, 3)
    confidence = np.ones((2, 1, total))
    confidence[1, 0, 20] = 0  # the right wrist of the second frame
    read = parse_pose(pose_file(parts, data, confidence, (200, 100)))
    units = np.array([200, 100, 1])
    np.testing.assert_allclose(read.poses[0, sk.RIGHT_HAND], data[0, 0, :21][::-1] / units)
    np.testing.assert_allclose(read.poses[:, sk.LEFT_HAND], data[:, 0, 23:44] / units)
    np.testing.assert_allclose(read.poses[:, sk.NOSE], data[:, 0, 45] / units)
    np.testing.assert_allclose(read.poses[:, sk.RIGHT_SHOULDER], data[:, 0, 44] / units)
    assert np.isnan(read.poses[1, sk.RIGHT_HAND.start]).all() and np.isnan(read.poses[:, sk.LEFT_SHOULDER]).all()
    assert (read.fps, read.width, read.height) == (24, 200, 100)


def test_two_dimensional_points_miss_only_z() -> None:
    data = np.ones((3, 1, 42, 2))
    read = parse_pose(
        pose_file({"LEFT_HAND_LANDMARKS": HAND, "RIGHT_HAND_LANDMARKS": HAND}, data, np.ones((3, 1, 42)), (2, 2))
    )
    assert (read.poses[:, sk.NUM_BODY :, :2] == 0.5).all() and np.isnan(read.poses[..., 2]).all()


@pytest.mark.parametrize("flat", [False, True])
def test_written_poses_are_read_unchanged(tmp_path: Path, flat: bool) -> None:
    poses = np.random.default_rng(0).uniform(0, 1, (9, 75, 3)).astype(np.float32)
    poses[2:4, 5] = np.nan
    poses[:, sk.LEFT_HAND] = np.nan
    if flat:
        poses[..., 2] = np.nan
    write_pose(tmp_path / "a.pose", poses, 25.0, 640, 480)
    read = read_pose(tmp_path / "a.pose")
    np.testing.assert_allclose(read.poses, poses, rtol=1e-6)
    assert (read.fps, read.width, read.height) == (25.0, 640, 480)


def test_truncated_files_are_one_line(tmp_path: Path) -> None:
    poses = np.random.default_rng(0).uniform(0, 1, (3, 75, 3)).astype(np.float32)
    write_pose(tmp_path / "a.pose", poses, 25.0, 640, 480)
    content = (tmp_path / "a.pose").read_bytes()
    for length in [*range(0, 200, 7), *range(200, len(content), 97), len(content) - 1]:
        with pytest.raises(PoseError, match=r"a.pose is not a valid .pose file") as caught:
            parse_pose(content[:length], "a.pose")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("component", "hand"), [("LEFT_HAND_LANDMARKS", sk.LEFT_HAND),
                                                  ("RIGHT_HAND_LANDMARKS", sk.RIGHT_HAND)])  # fmt: skip
def test_one_hand_component_is_enough(component: str, hand: slice) -> None:
    read = parse_pose(pose_file({component: HAND}, np.full((2, 1, 21, 3), 5.0), np.ones((2, 1, 21)), (10, 20)))
    assert (read.poses[:, hand] == np.array([0.5, 0.25, 5.0], np.float32)).all()
    rest = np.delete(read.poses, np.r_[hand], axis=1)
    assert np.isnan(rest).all() and rest.shape[1] == 54


def test_unusable_files_are_one_line() -> None:
    body = pose_file({"POSE_LANDMARKS": ["NOSE", "LEFT_WRIST"]}, np.ones((2, 1, 2, 3)), np.ones((2, 1, 2)), (10, 10))
    with pytest.raises(PoseError, match=r"b\.pose has neither LEFT_HAND_LANDMARKS nor RIGHT_.*only POSE_LANDMARKS"):
        parse_pose(body, "b.pose")
    both = {"LEFT_HAND_LANDMARKS": HAND, "RIGHT_HAND_LANDMARKS": HAND}
    with pytest.raises(PoseError, match="width and height"):
        parse_pose(pose_file(both, np.ones((2, 1, 42, 3)), np.ones((2, 1, 42)), (0, 0)))
    with pytest.raises(PoseError, match="no frames"):
        parse_pose(pose_file(both, np.ones((0, 1, 42, 3)), np.ones((0, 1, 42)), (10, 10)))
    with pytest.raises(PoseError, match="cannot be read"):
        read_pose("nowhere.pose")


def test_the_public_lexicon_of_178_points(mirror: Path | None, tmp_path: Path) -> None:
    files = sorted((mirror / "pose_lexicon").glob("**/*.pose")) if mirror else []
    assert mirror is None or len(files) == 4
    for path in files:
        read = read_pose(path)
        seen = np.isfinite(read.poses[..., :2]).all(-1).any(0)
        assert (read.width, read.height) == (640, 480) and len(read.poses) > 40
        assert seen[[sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER]].all() and seen[sk.RIGHT_HAND].all() and not seen[sk.NOSE]
        # The shoulders of someone who faces the camera: the left one at the right of the picture.
        x = np.nanmedian(read.poses[:, [sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER], 0], axis=0)
        assert 0 < x[1] < x[0] < 1
        write_pose(tmp_path / "again.pose", read.poses, read.fps, read.width, read.height)
        again = read_pose(tmp_path / "again.pose")
        np.testing.assert_allclose(again.poses, read.poses, rtol=2 * np.finfo(np.float32).eps)
        assert again[1:] == read[1:]


def test_poses_as_json_are_read_unchanged() -> None:
    poses = np.random.default_rng(0).uniform(0, 1, (2, 75, 3)).astype(np.float32)
    poses[1, 7, 2] = np.nan
    nested = to_json(poses)
    assert nested[1][7][2] is None
    np.testing.assert_array_equal(from_json(nested), poses)
    for invalid in ([], {}, "x", [[1]], [[[0, 0, 0]] * 74], [[[0, 0, "a"]] * 75], [[[1e300, 0, 0]] * 75],
                  [[[None] * 3] * 75], [[[0, 0, 0]] * 75, []]):  # fmt: skip
        with pytest.raises(PoseError):
            from_json(invalid)
