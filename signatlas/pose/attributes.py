"""Number of hands, movement and location of a recorded sign, computed from its poses by fixed rules.

Coordinates are in shoulder widths, with the middle of the shoulders as the origin and y down, so that neither the
position of the signer in the picture nor the distance from the camera matters. Left and right do not matter either.
docs/indexes.md has the same definitions, with their accuracy on procedural signs.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np

from signatlas.errors import PoseError
from signatlas.pose import skeleton as sk
from signatlas.pose.handedness import PALM
from signatlas.pose.normalize import TORSO_PER_SHOULDER_WIDTH, fill, normalize

Movement = Literal["none", "straight", "arc", "circle", "back_and_forth"]
Location = Literal["head", "chest", "waist"]
MOVEMENTS: tuple[str, ...] = get_args(Movement)
LOCATIONS: tuple[str, ...] = get_args(Location)

REST_LINE = 1.1  # a wrist below this height is at rest: shortly above the hips, 1.3 below the shoulders
DETECTED = 0.25  # a hand detected in a smaller share of the frames is replaced by the wrist of the body
SECOND_HAND = 0.5  # the other hand signs as well when it is up in this share of the frames of the first
STROKE = (0.2, 0.8)  # part of the time that the hand is up: without raising and lowering it
ONSET = 0.2  # part of the stroke, from its beginning, that gives the location
SMOOTHING = 3  # frames of the moving average
STILL = 0.15  # a path of no greater extent is no movement
ROUND = 0.35  # a path at least this broad, relative to its length, may be a circle
TURNS = 0.8  # of a full turn around its middle, that make it one
BACK = 0.4  # of the extent, that a hand moves back along the path, for a movement back and forth
BULGE = 0.2  # of the chord, that the path of an arc is away from it
CHIN = 0.6  # height of the chin above the shoulders, relative to that of the nose
NOSE_HEIGHT = 0.62  # above the shoulders, where the nose is not seen
WAIST = 0.6  # below the shoulders, a little less than half way to the hips


class PoseAttributes(NamedTuple):
    """Number of signing hands, movement and location of the dominant one; None where no hand is seen."""

    hands: Literal[1, 2] | None
    movement: Movement | None
    location: Location | None


DIRECTIONS = np.stack([np.cos(np.arange(36) * np.pi / 36), np.sin(np.arange(36) * np.pi / 36)])  # every 5 degrees
UNKNOWN = PoseAttributes(None, None, None)


def attributes(poses: np.ndarray, width: float | None = None, height: float | None = None) -> PoseAttributes:
    """Return the attributes of a recording of one sign, float32 [frames, 75, 3] in image units, NaN where missing.

    ``width`` and ``height`` of the picture give the scale of x and y; without them the picture counts as square. Poses
    that show neither face nor hands have no attributes. The same poses always have the same attributes.
    """
    try:
        points = _in_shoulder_widths(poses, width / height if width and height else None)
    except PoseError:
        return UNKNOWN
    hands = [hand for hand in _hands(points) if hand is not None]
    if not hands:
        return UNKNOWN
    raised = [hand.raised for hand in hands]
    if not any(up.any() for up in raised):  # a sign below the waist, or only the arms are in view
        hands = [hand._replace(raised=hand.seen) for hand in hands]
        raised = [hand.raised for hand in hands]
    counts = [int(up.sum()) for up in raised]
    strokes = [_stroke(hand) for hand in hands]
    # The dominant hand is up for longer; of two alike, the one with the longer path.
    dominant = max(range(len(hands)), key=lambda n: (counts[n], _length(strokes[n])))
    two = len(hands) == 2 and min(counts) >= SECOND_HAND * max(counts)
    if two:
        dominant = max(range(2), key=lambda n: _length(strokes[n]))
    return PoseAttributes(2 if two else 1, _movement(strokes[dominant]), _location(strokes[dominant], points))


class _Hand(NamedTuple):
    """Wrist and palm float64 [frames, 2], without gaps; ``seen`` and ``raised`` bool [frames]."""

    wrist: np.ndarray
    palm: np.ndarray
    seen: np.ndarray
    raised: np.ndarray


class _Stroke(NamedTuple):
    """Smoothed path of the wrist [frames, 2], and the height of the palm [frames], while a hand signs."""

    path: np.ndarray
    palm: np.ndarray


def _in_shoulder_widths(poses: np.ndarray, aspect: float | None) -> np.ndarray:
    """Return x and y float64 [frames, 75, 2] in shoulder widths. Raises PoseError."""
    points = normalize(poses, aspect)[..., :2].astype(np.float64)
    shoulders = points[:, [sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER]]
    widths = np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=-1)
    widths = widths[np.isfinite(widths)]
    width = float(np.median(widths)) if len(widths) else 0.0
    return points / width if width > 1e-6 else points * TORSO_PER_SHOULDER_WIDTH


def _hands(points: np.ndarray) -> list[_Hand | None]:
    hands: list[_Hand | None] = []
    for hand, wrist in ((sk.LEFT_HAND, sk.LEFT_WRIST), (sk.RIGHT_HAND, sk.RIGHT_WRIST)):
        landmarks = points[:, hand][:, PALM]  # the wrist comes first
        seen = np.isfinite(landmarks).all((1, 2))
        if seen.mean() < DETECTED:
            landmarks = points[:, wrist, None]
            seen = np.isfinite(landmarks).all((1, 2))
        if not seen.any():
            hands.append(None)
            continue
        filled = fill(np.where(seen[:, None, None], landmarks, np.nan)).coordinates.astype(np.float64)
        wrists, palms = filled[:, 0], filled.mean(1)
        inside = np.arange(len(seen))
        inside = (inside >= np.flatnonzero(seen)[0]) & (inside <= np.flatnonzero(seen)[-1])
        hands.append(_Hand(wrists, palms, inside, inside & (wrists[:, 1] < REST_LINE)))
    return hands


def _stroke(hand: _Hand) -> _Stroke:
    """Return the middle of the time from the first to the last frame in which the hand is raised, at least 1 frame."""
    frames = np.flatnonzero(hand.raised)
    if len(frames) == 0:
        return _Stroke(np.zeros((0, 2)), np.zeros(0))
    length = frames[-1] + 1 - frames[0]
    first, end = (frames[0] + round(share * length) for share in STROKE)
    span = slice(first, max(end, first + 1))
    return _Stroke(_smoothed(hand.wrist[span]), hand.palm[span, 1])


def _smoothed(path: np.ndarray) -> np.ndarray:
    """Return the moving average [frames, 2], shorter by ``SMOOTHING`` - 1 frames where there are enough."""
    if len(path) < 2 * SMOOTHING:
        return path
    kernel = np.full(SMOOTHING, 1 / SMOOTHING)
    return np.stack([np.convolve(axis, kernel, "valid") for axis in path.T], axis=1)


def _length(stroke: _Stroke) -> float:
    return float(np.linalg.norm(np.diff(stroke.path, axis=0), axis=1).sum())


def _movement(stroke: _Stroke) -> Movement:
    path = stroke.path
    extent = float(np.ptp(path @ DIRECTIONS, axis=0).max())
    if extent <= STILL:
        return "none"
    centered = path - path.mean(0)
    spread, axes = np.linalg.eigh(centered.T @ centered)  # ascending
    breadth = float(np.sqrt(max(spread[0], 0.0) / spread[1]))
    if breadth >= ROUND and abs(_turns(path)) >= TURNS:
        return "circle"
    if _way_back(centered @ axes[:, 1]) >= BACK * extent:
        return "back_and_forth"
    chord = path[-1] - path[0]
    away = np.abs(chord[0] * (path[:, 1] - path[0, 1]) - chord[1] * (path[:, 0] - path[0, 0]))
    # Distance from the chord over its length: the product above is already one length of it too much.
    return "arc" if float(away.max()) >= BULGE * float(chord @ chord) else "straight"


def _turns(path: np.ndarray) -> float:
    """Return how often a path turns around the middle of its bounding box, with the sign of the direction."""
    around = path - (path.min(0) + path.max(0)) / 2
    angles = np.unwrap(np.arctan2(around[:, 1], around[:, 0]))
    return float((angles[-1] - angles[0]) / (2 * np.pi))


def _way_back(positions: np.ndarray) -> float:
    """Return the longest way [frames] against the main direction: the smaller of the greatest fall and rise."""
    fall = float((np.maximum.accumulate(positions) - positions).max())
    rise = float((positions - np.minimum.accumulate(positions)).max())
    return min(fall, rise)


def _location(stroke: _Stroke, points: np.ndarray) -> Location:
    """Return the zone of the palm at the beginning of the stroke."""
    y = float(np.median(stroke.palm[: max(1, round(ONSET * len(stroke.palm)))]))
    noses = points[:, sk.NOSE, 1]
    noses = noses[np.isfinite(noses)]
    nose = float(np.median(noses)) if len(noses) else -NOSE_HEIGHT
    if y < CHIN * nose:
        return "head"
    return "chest" if y < WAIST else "waist"
