"""MediaPipe Holistic: bit-identical to the solution, and the same from a reused detector as from a new one."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from signatlas.pose import skeleton as sk
from signatlas.pose.holistic import NUM_FACE, Holistic
from signatlas.pose.video import frames

FRAMES = 24


@pytest.fixture(scope="module")
def clips(mirror: Path | None) -> list[list[np.ndarray]]:
    """Frames of two people whose hands appear and disappear; plain gray without the mirror."""
    if mirror is None or not (mirror / "video").is_dir():
        return [[np.full((96, 64, 3), gray, np.uint8)] * FRAMES for gray in (90, 160)]
    cuts = (("slovo_f17a6060", 24), ("posefmt_test_video", 20))
    return [list(frames(mirror / "video" / f"{name}.mp4", span=(at, at + FRAMES))) for name, at in cuts]


def by_the_solution(images: list[np.ndarray], face: bool) -> dict[str, list[list[tuple[float, float, float]] | None]]:
    """Return the landmarks of the solution, called as in its documentation."""
    from mediapipe.python.solutions.holistic import Holistic as Solution

    names = ("pose_landmarks", "left_hand_landmarks", "right_hand_landmarks", "face_landmarks")
    landmarks: dict[str, list[list[tuple[float, float, float]] | None]] = {name: [] for name in names}
    with Solution(refine_face_landmarks=face) as solution:
        for image in images:
            result = solution.process(image)
            for name in names:
                detected = getattr(result, name)
                landmarks[name].append([(p.x, p.y, p.z) for p in detected.landmark] if detected else None)
    return landmarks


@pytest.mark.parametrize("face", [False, True])
def test_points_are_those_of_the_solution_bit_for_bit(clips: list[list[np.ndarray]], face: bool) -> None:
    detector = Holistic(face=face)
    for images in clips:
        detector.reset()
        detections = detector(images)
        expected = by_the_solution(images, face)
        parts = {"pose_landmarks": sk.BODY, "left_hand_landmarks": sk.LEFT_HAND, "right_hand_landmarks": sk.RIGHT_HAND}
        for name, part in parts.items():
            missing = [[(np.nan,) * 3] * (part.stop - part.start)]
            reference = np.array([points or missing[0] for points in expected[name]], np.float32)
            np.testing.assert_array_equal(detections.poses[:, part], reference, err_msg=name)
        if face:
            assert detections.face is not None
            no_face = [(np.nan,) * 3] * NUM_FACE
            reference = np.array([points or no_face for points in expected["face_landmarks"]], np.float32)
            np.testing.assert_array_equal(detections.face, reference)
        else:
            assert detections.face is None
    detector.close()


def test_a_reset_detector_gives_the_points_of_a_new_one(clips: list[list[np.ndarray]]) -> None:
    used = Holistic()
    used(clips[0])
    used.reset()
    again = used(clips[1])
    fresh = Holistic()(clips[1])
    np.testing.assert_array_equal(again.poses, fresh.poses)
    np.testing.assert_array_equal(again.visibility, fresh.visibility)


def test_shapes_units_and_missing_points(clips: list[list[np.ndarray]], mirror: Path | None) -> None:
    detections = Holistic()(islice(iter(clips[0]), FRAMES))
    assert (detections.poses.shape, detections.poses.dtype) == ((FRAMES, 75, 3), np.float32)
    assert (detections.visibility.shape, detections.visibility.dtype) == ((FRAMES, 75), np.float16)
    present = np.isfinite(detections.poses).all(-1)
    np.testing.assert_array_equal(np.isnan(detections.poses).all(-1), ~present)
    for hand in (sk.LEFT_HAND, sk.RIGHT_HAND):
        np.testing.assert_array_equal(present[:, hand].all(1), present[:, hand].any(1))
        np.testing.assert_array_equal(detections.visibility[:, hand] == 1, present[:, hand])
    assert (detections.visibility[~present] == 0).all()
    if mirror is not None and (mirror / "video").is_dir():
        nose, shoulders = detections.poses[:, sk.NOSE], detections.poses[:, [sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER]]
        assert ((nose[:, :2] > 0) & (nose[:, :2] < 1)).all()
        assert (shoulders[..., 1] > nose[:, None, 1]).all()  # y runs downwards
        assert (shoulders[:, 0, 0] > shoulders[:, 1, 0]).all()  # the image is not mirrored


def test_no_frames_give_empty_detections() -> None:
    detections = Holistic(face=True)([])
    assert detections.poses.shape == (0, 75, 3)
    assert detections.visibility.shape == (0, 75)
    assert detections.face is not None and detections.face.shape == (0, NUM_FACE, 3)


QUIET = """
import sys
import numpy as np
from signatlas.pose.holistic import Holistic
detector = Holistic()
detector([np.full((64, 64, 3), 128, np.uint8)] * 2)
detector.reset()
print("own message", file=sys.stderr, flush=True)
"""


def test_only_warnings_of_mediapipe_are_suppressed() -> None:
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, timeout=300, check=True)
    assert done.stderr == "own message\n"
