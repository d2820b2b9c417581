"""How well a clip was extracted: hands found, jumps of the wrists, points outside the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from signatlas.pose import skeleton as sk
from signatlas.pose.normalize import palm_length

# Palm lengths (wrist to middle knuckle, some 9 cm) a second. Quick signing stays below 35 (3 m/s); a wrist that is
# faster was usually found somewhere else, or another hand was taken for it.
JUMP_SPEED = 50.0
USUAL_FPS = 25.0  # where the frame rate is unknown
# Below the hips a body is out of the picture in most recordings of signing, which says nothing about the hands.
JUDGED = (*range(sk.RIGHT_WRIST + 1), *range(sk.NUM_BODY, sk.NUM_POINTS))
MEASURES = ("left", "right", "any", "jumps", "off_screen")
BAD_IF_HIGH = ("jumps", "off_screen")
WORST = 5


class Quality(NamedTuple):
    """Shares, 0..1: of frames with the left, the right, any hand; of a hand's steps from one frame to the next that
    are jumps; of points found (head, arms, hands) that lie outside the picture."""

    left: float
    right: float
    any: float
    jumps: float
    off_screen: float


class Named(NamedTuple):
    """A clip's id, source and quality."""

    id: str
    source: str
    quality: Quality


def quality(poses: np.ndarray, *, aspect: float | None = None, fps: float | None = None) -> Quality:
    """Judge poses [T, 75, 3] in image units; ``aspect`` is width/height and ``fps`` the frame rate, where known.

    A wrist jumps when it moves faster than ``JUMP_SPEED`` palm lengths of its clip a second, from one frame to the
    next with that hand in both. Shares of nothing are 0.
    """
    points = np.array(poses[..., :2], np.float32)
    off = _off_screen(points)
    points[..., 0] *= aspect or 1.0
    hands = (points[:, sk.LEFT_HAND], points[:, sk.RIGHT_HAND])
    left, right = (np.isfinite(hand).all(-1).any(1) for hand in hands)
    limit = JUMP_SPEED / (fps or USUAL_FPS) * palm_length(points)
    steps = jumps = 0
    for hand in hands:
        moved = np.linalg.norm(np.diff(hand[:, sk.HAND_WRIST], axis=0), axis=-1)
        steps += int(np.isfinite(moved).sum())
        jumps += int((moved > limit).sum())
    return Quality(_mean(left), _mean(right), _mean(left | right), jumps / max(steps, 1), off)


def _off_screen(points: np.ndarray) -> float:
    judged = points[:, JUDGED].reshape(-1, 2)
    judged = judged[np.isfinite(judged).all(1)]
    return _mean(((judged < 0) | (judged > 1)).any(1))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def summary(clips: Sequence[Named]) -> dict[str, Any]:
    """By source: the median of each measure over clips, the worst value, and the worst clips by id; fit for JSON."""
    return {
        source: _of_source([c for c in clips if c.source == source]) for source in sorted({c.source for c in clips})
    }


def _of_source(clips: Sequence[Named]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for measure in MEASURES:
        values = [getattr(clip.quality, measure) for clip in clips]
        worst = max(values) if measure in BAD_IF_HIGH else min(values)
        told[measure] = {"median": round(float(np.median(values)), 4), "worst": round(worst, 4)}
    told["worst_clips"] = [
        {"id": clip.id} | {name: round(value, 4) for name, value in clip.quality._asdict().items()}
        for clip in worst_first(clips)[:WORST]
        if badness(clip.quality) > 0
    ]
    return told


def badness(one: Quality) -> float:
    """One number to order by: frames without a hand, jumps and points off-screen, added up."""
    return (1 - one.any) + one.jumps + one.off_screen


def worst_first(clips: Sequence[Named]) -> list[Named]:
    """Ordered by :func:`badness`, then by id."""
    return sorted(clips, key=lambda clip: (-badness(clip.quality), clip.id))


def as_lines(told: dict[str, Any]) -> list[str]:
    """The summary as a table for people: median over clips, and the worst of them."""
    width = max([len(source) for source in told], default=0)
    head = f"  {'':<{width}}  {'left hand':>13} {'right hand':>13} {'any hand':>13} {'jumps':>13} {'off-screen':>13}"
    lines = ["quality: median clip and worst (shares of frames, of steps, of points)", head]
    for source, held in told.items():
        cells = (f"{held[m]['median']:>6.1%} {held[m]['worst']:>6.1%}" for m in MEASURES)
        lines.append(f"  {source:<{width}}  {' '.join(cells)}")
    for held in told.values():
        lines += [
            f"  worst: {clip['id']}: a hand in {clip['any']:.1%}, jumps {clip['jumps']:.1%}, "
            f"off-screen {clip['off_screen']:.1%}"
            for clip in held["worst_clips"]
        ]
    return lines
