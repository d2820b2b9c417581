"""Quality of extracted poses: detected hands, jumps of the wrists, points outside the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from signatlas.pose import skeleton as sk
from signatlas.pose.normalize import palm_length

# Palm lengths (wrist to middle knuckle, about 9 cm) per second. Fast signing stays below 35 (3 m/s); a faster wrist is
# usually a false detection, or the other hand.
JUMP_SPEED = 50.0
DEFAULT_FPS = 25.0  # if the frame rate is unknown
# Most recordings of signing do not show the body below the hips, so it is not counted as outside the image.
ON_SCREEN_POINTS = (*range(sk.RIGHT_WRIST + 1), *range(sk.NUM_BODY, sk.NUM_POINTS))
MEASURES = ("left", "right", "any", "jumps", "off_screen")
BAD_IF_HIGH = ("jumps", "off_screen")
NUM_WORST = 5  # clips listed in a summary


class Quality(NamedTuple):
    """Shares, 0..1: frames with the left, the right, or any hand; steps of a hand from one frame to the next that are
    jumps; detected points of head, arms and hands that lie outside the image."""

    left: float
    right: float
    any: float
    jumps: float
    off_screen: float


class ClipQuality(NamedTuple):
    """Id, source and quality of a clip."""

    id: str
    source: str
    quality: Quality


def measure(poses: np.ndarray, *, aspect: float | None = None, fps: float | None = None) -> Quality:
    """Return the quality of poses [T, 75, 3] in image units; ``aspect`` is width/height, if known.

    A jump is a wrist that moves faster than ``JUMP_SPEED`` palm lengths of the clip per second between two frames that
    both show the hand. A share of no frames, steps or points is 0.
    """
    points = np.array(poses[..., :2], np.float32)
    off_screen = _off_screen_share(points)
    points[..., 0] *= aspect or 1.0
    hands = (points[:, sk.LEFT_HAND], points[:, sk.RIGHT_HAND])
    left, right = (np.isfinite(hand).all(-1).any(1) for hand in hands)
    limit = JUMP_SPEED / (fps or DEFAULT_FPS) * palm_length(points)
    steps = jumps = 0
    for hand in hands:
        moved = np.linalg.norm(np.diff(hand[:, sk.HAND_WRIST], axis=0), axis=-1)
        steps += int(np.isfinite(moved).sum())
        jumps += int((moved > limit).sum())
    return Quality(_mean(left), _mean(right), _mean(left | right), jumps / max(steps, 1), off_screen)


def _off_screen_share(points: np.ndarray) -> float:
    detected = points[:, ON_SCREEN_POINTS].reshape(-1, 2)
    detected = detected[np.isfinite(detected).all(1)]
    return _mean(((detected < 0) | (detected > 1)).any(1))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def summarize(clips: Sequence[ClipQuality]) -> dict[str, Any]:
    """Return, by source, median and worst value of each measure and the worst clips, as JSON-ready values."""
    return {
        source: _summarize_source([c for c in clips if c.source == source])
        for source in sorted({c.source for c in clips})
    }


def _summarize_source(clips: Sequence[ClipQuality]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for measure in MEASURES:
        values = [getattr(clip.quality, measure) for clip in clips]
        worst = max(values) if measure in BAD_IF_HIGH else min(values)
        summary[measure] = {"median": round(float(np.median(values)), 4), "worst": round(worst, 4)}
    summary["worst_clips"] = [
        {"id": clip.id} | {name: round(value, 4) for name, value in clip.quality._asdict().items()}
        for clip in worst_first(clips)[:NUM_WORST]
        if badness(clip.quality) > 0
    ]
    return summary


def badness(quality: Quality) -> float:
    """Return one number to sort by: the sum of the shares of frames without a hand, jumps and off-screen points."""
    return (1 - quality.any) + quality.jumps + quality.off_screen


def worst_first(clips: Sequence[ClipQuality]) -> list[ClipQuality]:
    """Return the clips sorted by descending :func:`badness`, then by id."""
    return sorted(clips, key=lambda clip: (-badness(clip.quality), clip.id))


def as_lines(summary: dict[str, Any]) -> list[str]:
    """Return the result of :func:`summarize` as a table with the median and the worst clip."""
    width = max([len(source) for source in summary], default=0)
    header = f"  {'':<{width}}  {'left hand':>13} {'right hand':>13} {'any hand':>13} {'jumps':>13} {'off-screen':>13}"
    lines = ["quality: median clip and worst (shares of frames, of steps, of points)", header]
    for source, part in summary.items():
        cells = (f"{part[m]['median']:>6.1%} {part[m]['worst']:>6.1%}" for m in MEASURES)
        lines.append(f"  {source:<{width}}  {' '.join(cells)}")
    for part in summary.values():
        lines += [
            f"  worst: {clip['id']}: a hand in {clip['any']:.1%}, jumps {clip['jumps']:.1%}, "
            f"off-screen {clip['off_screen']:.1%}"
            for clip in part["worst_clips"]
        ]
    return lines
