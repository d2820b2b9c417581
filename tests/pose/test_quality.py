"""Quality of poses: known shares, independent of image proportions and frame rate."""

from __future__ import annotations

import json

import numpy as np
import pytest

from signatlas.pose import skeleton as sk
from signatlas.pose.quality import JUMP_SPEED, ClipQuality, Quality, as_lines, measure, summarize

PALM = 0.1


def signing(frames: int = 20) -> np.ndarray:
    """Return poses with the right hand in all frames and the left one in the first half, with palms of 0.1."""
    poses = np.full((frames, sk.NUM_POINTS, 3), np.nan, np.float32)
    poses[:, sk.NOSE, :2] = 0.5, 0.2
    poses[:, sk.RIGHT_HAND, :2] = 0.3, 0.5
    poses[: frames // 2, sk.LEFT_HAND, :2] = 0.7, 0.5
    for hand in (sk.LEFT_HAND, sk.RIGHT_HAND):
        poses[:, hand.start + sk.HAND_MIDDLE_MCP, 1] -= PALM
    return poses


def test_shares_of_hands() -> None:
    assert measure(signing()) == Quality(0.5, 1.0, 1.0, 0.0, 0.0)
    nothing = np.full((5, sk.NUM_POINTS, 3), np.nan, np.float32)
    assert measure(nothing) == Quality(0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("fps", [12.5, 25.0, 50.0])
def test_jumps_depend_on_speed_and_not_on_the_frame_rate(fps: float) -> None:
    step = JUMP_SPEED / fps * PALM
    for factor, jumps in ((0.9, 0), (1.1, 1)):
        poses = signing()
        poses[15:, sk.RIGHT_HAND, 0] += factor * step
        assert measure(poses, fps=fps).jumps == pytest.approx(jumps / (19 + 9))
    assert measure(poses, fps=25.0) == measure(poses)


def test_jumps_are_measured_in_true_proportions() -> None:
    poses = signing()
    poses[15:, sk.RIGHT_HAND, 0] += 0.9 * JUMP_SPEED / 25 * PALM
    assert measure(poses).jumps == 0
    assert measure(poses, aspect=16 / 9).jumps > 0  # the same share of the width is a longer distance


def test_a_hand_that_disappears_does_not_jump() -> None:
    poses = signing()
    poses[5:7, sk.RIGHT_HAND] = np.nan
    poses[7:, sk.RIGHT_HAND, 0] += 0.6
    assert measure(poses).jumps == 0


def test_points_outside_the_image_are_counted_except_legs() -> None:
    poses = signing()
    poses[:, 25:33, :2] = 0.5, 1.4
    assert measure(poses).off_screen == 0
    poses[:10, sk.RIGHT_HAND, 0] = -0.1
    assert measure(poses).off_screen == pytest.approx(210 / (20 + 420 + 210))
    assert measure(poses, aspect=0.5).off_screen == measure(poses).off_screen


def test_the_summary_names_the_worst_clips() -> None:
    good, bad = Quality(1.0, 1.0, 1.0, 0.0, 0.0), Quality(0.0, 0.2, 0.2, 0.5, 0.1)
    clips = [
        ClipQuality("a", "one", good),
        ClipQuality("b", "one", bad),
        ClipQuality("c", "one", good),
        ClipQuality("d", "two", good),
    ]
    summary = summarize(clips)
    assert json.loads(json.dumps(summary)) == summary
    assert summary["one"]["any"] == {"median": 1.0, "worst": 0.2}
    assert summary["one"]["jumps"] == {"median": 0.0, "worst": 0.5}
    assert [clip["id"] for clip in summary["one"]["worst_clips"]] == ["b"]
    assert summary["two"]["worst_clips"] == []
    lines = as_lines(summary)
    assert lines[-1] == "  worst: b: a hand in 20.0%, jumps 50.0%, off-screen 10.0%"
    assert len(lines) == 5
