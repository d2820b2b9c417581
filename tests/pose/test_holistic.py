"""MediaPipe Holistic: the solution's own points, the same from a reused detector as from a fresh one."""

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
    """Frames in which hands come and go, of two people; of plain gray where there is no mirror."""
    if mirror is None or not (mirror / "video").is_dir():
        return [[np.full((96, 64, 3), gray, np.uint8)] * FRAMES for gray in (90, 160)]
    cuts = (("slovo_f17a6060", 24), ("posefmt_test_video", 20))
    return [list(frames(mirror / "video" / f"{name}.mp4", span=(at, at + FRAMES))) for name, at in cuts]


def by_the_solution(images: list[np.ndarray], face: bool) -> dict[str, list[list[tuple[float, float, float]] | None]]:
    """As its documentation shows it."""
    from mediapipe.python.solutions.holistic import Holistic as Solution

    names = ("pose_landmarks", "left_hand_landmarks", "right_hand_landmarks", "face_landmarks")
    found: dict[str, list[list[tuple[float, float, float]] | None]] = {name: [] for name in names}
    with Solution(refine_face_landmarks=face) as solution:
        for image in images:
            result = solution.process(image)
            for name in names:
                held = getattr(result, name)
                found[name].append([(p.x, p.y, p.z) for p in held.landmark] if held else None)
    return found


@pytest.mark.parametrize("face", [False, True])
def test_points_are_those_of_the_solution_bit_for_bit(clips: list[list[np.ndarray]], face: bool) -> None:
    detector = Holistic(face=face)
    for images in clips:
        detector.reset()
        found = detector(images)
        expected = by_the_solution(images, face)
        parts = {"pose_landmarks": sk.BODY, "left_hand_landmarks": sk.LEFT_HAND, "right_hand_landmarks": sk.RIGHT_HAND}
        for name, part in parts.items():
            missing = [[(np.nan,) * 3] * (part.stop - part.start)]
            wanted = np.array([held or missing[0] for held in expected[name]], np.float32)
            np.testing.assert_array_equal(found.poses[:, part], wanted, err_msg=name)
        if face:
            assert found.face is not None
            wanted = np.array([held or [(np.nan,) * 3] * NUM_FACE for held in expected["face_landmarks"]], np.float32)
            np.testing.assert_array_equal(found.face, wanted)
        else:
            assert found.face is None
    detector.close()


def test_after_a_reset_a_detector_is_as_good_as_new(clips: list[list[np.ndarray]]) -> None:
    used = Holistic()
    used(clips[0])
    used.reset()
    again = used(clips[1])
    fresh = Holistic()(clips[1])
    np.testing.assert_array_equal(again.poses, fresh.poses)
    np.testing.assert_array_equal(again.visibility, fresh.visibility)


def test_shapes_units_and_what_is_missing(clips: list[list[np.ndarray]], mirror: Path | None) -> None:
    found = Holistic()(islice(iter(clips[0]), FRAMES))
    assert (found.poses.shape, found.poses.dtype) == ((FRAMES, 75, 3), np.float32)
    assert (found.visibility.shape, found.visibility.dtype) == ((FRAMES, 75), np.float16)
    there = np.isfinite(found.poses).all(-1)
    np.testing.assert_array_equal(np.isnan(found.poses).all(-1), ~there)
    for hand in (sk.LEFT_HAND, sk.RIGHT_HAND):
        np.testing.assert_array_equal(there[:, hand].all(1), there[:, hand].any(1))
        np.testing.assert_array_equal(found.visibility[:, hand] == 1, there[:, hand])
    assert (found.visibility[~there] == 0).all()
    if mirror is not None and (mirror / "video").is_dir():
        nose, shoulders = found.poses[:, sk.NOSE], found.poses[:, [sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER]]
        assert ((nose[:, :2] > 0) & (nose[:, :2] < 1)).all()
        assert (shoulders[..., 1] > nose[:, None, 1]).all()  # y runs downwards
        assert (shoulders[:, 0, 0] > shoulders[:, 1, 0]).all()  # the picture is not mirrored


def test_no_frames_are_no_detections() -> None:
    found = Holistic(face=True)([])
    assert found.poses.shape == (0, 75, 3)
    assert found.visibility.shape == (0, 75)
    assert found.face is not None and found.face.shape == (0, NUM_FACE, 3)


QUIET = """
import sys
import numpy as np
from signatlas.pose.holistic import Holistic
detector = Holistic()
detector([np.full((64, 64, 3), 128, np.uint8)] * 2)
detector.reset()
print("mine", file=sys.stderr, flush=True)
"""


def test_mediapipe_says_nothing_and_others_are_heard() -> None:
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, timeout=300, check=True)
    assert done.stderr == "mine\n"
