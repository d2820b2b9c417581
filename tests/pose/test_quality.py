"""Quality of a clip: known shares come out, whatever the camera and the frame rate."""

from __future__ import annotations

import json

import numpy as np
import pytest

from signatlas.pose import skeleton as sk
from signatlas.pose.quality import JUMP_SPEED, Named, Quality, as_lines, quality, summary

PALM = 0.1


def signing(frames: int = 20) -> np.ndarray:
    """The right hand throughout, the left one in the first half; palms 0.1 of a square picture long."""
    poses = np.full((frames, sk.NUM_POINTS, 3), np.nan, np.float32)
    poses[:, sk.NOSE, :2] = 0.5, 0.2
    poses[:, sk.RIGHT_HAND, :2] = 0.3, 0.5
    poses[: frames // 2, sk.LEFT_HAND, :2] = 0.7, 0.5
    for hand in (sk.LEFT_HAND, sk.RIGHT_HAND):
        poses[:, hand.start + sk.HAND_MIDDLE_MCP, 1] -= PALM
    return poses


def test_shares_of_hands() -> None:
    assert quality(signing()) == Quality(0.5, 1.0, 1.0, 0.0, 0.0)
    nothing = np.full((5, sk.NUM_POINTS, 3), np.nan, np.float32)
    assert quality(nothing) == Quality(0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("fps", [12.5, 25.0, 50.0])
def test_a_jump_is_a_speed_whatever_the_frame_rate(fps: float) -> None:
    step = JUMP_SPEED / fps * PALM
    for factor, jumps in ((0.9, 0), (1.1, 1)):
        poses = signing()
        poses[15:, sk.RIGHT_HAND, 0] += factor * step
        assert quality(poses, fps=fps).jumps == pytest.approx(jumps / (19 + 9))
    assert quality(poses, fps=25.0) == quality(poses)


def test_a_jump_is_measured_in_the_true_proportions() -> None:
    poses = signing()
    poses[15:, sk.RIGHT_HAND, 0] += 0.9 * JUMP_SPEED / 25 * PALM
    assert quality(poses).jumps == 0
    assert quality(poses, aspect=16 / 9).jumps > 0  # a share of the width is more than the same share of the height


def test_a_hand_that_comes_and_goes_does_not_jump() -> None:
    poses = signing()
    poses[5:7, sk.RIGHT_HAND] = np.nan
    poses[7:, sk.RIGHT_HAND, 0] += 0.6
    assert quality(poses).jumps == 0


def test_points_outside_the_picture_are_counted_but_no_legs() -> None:
    poses = signing()
    poses[:, 25:33, :2] = 0.5, 1.4
    assert quality(poses).off_screen == 0
    poses[:10, sk.RIGHT_HAND, 0] = -0.1
    assert quality(poses).off_screen == pytest.approx(210 / (20 + 420 + 210))
    assert quality(poses, aspect=0.5).off_screen == quality(poses).off_screen


def test_the_summary_names_the_worst_and_is_fit_for_json() -> None:
    good, bad = Quality(1.0, 1.0, 1.0, 0.0, 0.0), Quality(0.0, 0.2, 0.2, 0.5, 0.1)
    clips = [Named("a", "one", good), Named("b", "one", bad), Named("c", "one", good), Named("d", "two", good)]
    told = summary(clips)
    assert json.loads(json.dumps(told)) == told
    assert told["one"]["any"] == {"median": 1.0, "worst": 0.2}
    assert told["one"]["jumps"] == {"median": 0.0, "worst": 0.5}
    assert [clip["id"] for clip in told["one"]["worst_clips"]] == ["b"]
    assert told["two"]["worst_clips"] == []
    lines = as_lines(told)
    assert lines[-1] == "  worst: b: a hand in 20.0%, jumps 50.0%, off-screen 10.0%"
    assert len(lines) == 5
