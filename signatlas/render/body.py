"""A whole upper body from what is known of it: points where they were found, invented where not (pictures only)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from signatlas.pose import skeleton as sk
from signatlas.pose.normalize import FACE_ABOVE_SHOULDERS, TORSO_PER_SHOULDER_WIDTH, fill, palm_length

# Lengths of a body in palms (wrist to middle knuckle), for what no point says.
SHOULDER_WIDTH = 3.85
SHOULDERS_BELOW_NOSE = FACE_ABOVE_SHOULDERS * TORSO_PER_SHOULDER_WIDTH * SHOULDER_WIDTH
TORSO = TORSO_PER_SHOULDER_WIDTH * SHOULDER_WIDTH
UPPER_ARM, FOREARM = 3.0, 2.6
REACH = 0.95 * (UPPER_ARM + FOREARM) + SHOULDERS_BELOW_NOSE  # from the nose straight down
IN_FRONT = 2.4  # how far before the shoulders hands sign
HEAD = np.array([0.88, 1.2])  # half width and half height
# A hand before the camera looks larger than the body behind it.
BODY_PER_PALM = 0.9
SHOULDERS_PER_NOSE_HEIGHT, ASPECTS = 1.6, (9 / 16, 3 / 4, 1.0, 4 / 3, 16 / 9)
EASE = 6  # frames in which an arm sinks to rest after its hand was last seen
SIDES = ((sk.LEFT_HAND, sk.LEFT_SHOULDER, sk.LEFT_ELBOW, sk.LEFT_WRIST),
         (sk.RIGHT_HAND, sk.RIGHT_SHOULDER, sk.RIGHT_ELBOW, sk.RIGHT_WRIST))  # fmt: skip
OUTWARD = np.array([1.0, -1.0])  # in the picture a signer's left side is the right one
LEFT_EAR, RIGHT_EAR, LEFT_EYE, RIGHT_EYE, MOUTH_LEFT, MOUTH_RIGHT = 7, 8, 2, 5, 9, 10


@dataclass(frozen=True)
class Figure:
    """A person in T frames; lengths in shares of the picture's height (x is x times aspect). Left before right.

    ``unit`` is the body's palm length, by which the rest is drawn. ``hands`` is NaN where a hand was not seen.
    ``nearness`` is larger for the hand nearer to the camera. All float32.
    """

    unit: float
    head: np.ndarray  # [T, 2] its center
    head_size: np.ndarray  # [T, 2] half width, half height
    eyes: np.ndarray  # [T, 2, 2]
    nose: np.ndarray  # [T, 2]
    mouth: np.ndarray  # [T, 2, 2] its corners
    shoulders: np.ndarray  # [T, 2, 2]
    elbows: np.ndarray  # [T, 2, 2]
    wrists: np.ndarray  # [T, 2, 2]
    hips: np.ndarray  # [T, 2, 2]
    hands: np.ndarray  # [T, 2, 21, 3]
    nearness: np.ndarray  # [T, 2]
    face: np.ndarray | None  # [T, 478, 2]

    def at(self, time: float) -> dict[str, np.ndarray]:
        """Every part at a moment between two frames; a hand that one of them lacks is taken from the other."""
        low = min(int(time), len(self.head) - 1)
        high, share = min(low + 1, len(self.head) - 1), np.float32(time - low)
        parts = {}
        for name in (f.name for f in fields(self) if f.name != "unit"):
            held = getattr(self, name)
            if held is not None:
                mixed = (1 - share) * held[low] + share * held[high]
                parts[name] = np.where(np.isnan(mixed), held[low], mixed)
        return parts


def figure(poses: np.ndarray, aspect: float, *, bridge: int = 5, face: np.ndarray | None = None) -> Figure | None:
    """The person of ``poses`` [T, 75, 3] in image units, seen in a picture of width/height ``aspect``.

    Body points are interpolated over time where some frames have them. Where none has: shoulders hang from the nose
    by a palm length (or the nose above the shoulders), elbows bend by the rule of :func:`bent`, and an arm whose hand
    was not seen for more than ``bridge`` frames sinks to rest. None of this leaves the picture: the poses are not
    changed. Returns None when neither nose, shoulders nor hands were found in any frame.
    """
    points = poses.astype(np.float32).copy()
    points[..., 0] *= aspect
    points[..., 2] *= aspect
    filled = fill(points[:, sk.BODY])
    body = np.where(filled.present.any(0)[None, :, None], filled.coordinates, np.nan)[..., :2]
    hands = np.stack([_bridged(points[:, side], bridge) for side, *_ in SIDES], axis=1)
    unit = _unit(points, body)
    nose = _nose(body, hands, unit)
    if nose is None:
        return None
    shoulders = _shoulders(body, nose, unit)
    wrists = _wrists(hands, body, points, shoulders, unit)
    head, head_size = _head(body, nose, unit)
    elbows = np.stack(
        [
            body[:, elbow] if np.isfinite(body[:, elbow]).all() else bent(shoulders[:, i], wrists[:, i], unit, sign)
            for i, ((_, _, elbow, _), sign) in enumerate(zip(SIDES, OUTWARD, strict=True))
        ],
        axis=1,
    )
    down = np.stack([-0.25 * OUTWARD * unit, np.full(2, TORSO * unit)], axis=-1)
    return Figure(
        unit=unit,
        head=head,
        head_size=head_size,
        eyes=_or(body[:, [LEFT_EYE, RIGHT_EYE]], nose[:, None] + unit * np.array([[0.33, -0.42], [-0.33, -0.42]])),
        nose=nose,
        mouth=_or(body[:, [MOUTH_LEFT, MOUTH_RIGHT]], nose[:, None] + unit * np.array([[0.28, 0.36], [-0.28, 0.36]])),
        shoulders=shoulders,
        elbows=elbows,
        wrists=wrists,
        hips=shoulders + down.astype(np.float32),
        hands=hands,
        nearness=_nearness(hands, points),
        face=None if face is None else (face[..., :2] * np.array([aspect, 1.0])).astype(np.float32),
    )


def likely_aspect(poses: np.ndarray) -> float | None:
    """Width/height of the picture, where a corpus does not know it, told by the body: one of :data:`ASPECTS` or None.

    Shoulders are about 1.6 times as wide as the nose is high above them (1.49 and 1.72 in two videos of known size).
    """
    shoulders = poses[:, [sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER], :2]
    wide = np.abs(shoulders[:, 0, 0] - shoulders[:, 1, 0])
    high = shoulders[..., 1].mean(1) - poses[:, sk.NOSE, 1]
    ratio = wide / np.where(high > 1e-3, high, np.nan)
    if not (np.isfinite(ratio) & (ratio > 0)).any():
        return None
    told = np.log(SHOULDERS_PER_NOSE_HEIGHT / np.nanpercentile(ratio, 75))  # turned shoulders look narrower
    return min(ASPECTS, key=lambda aspect: abs(np.log(aspect) - told))


def _or(found: np.ndarray, invented: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(found), found, invented).astype(np.float32)


def _bridged(hand: np.ndarray, bridge: int) -> np.ndarray:
    """A hand [T, 21, 3] with gaps of up to ``bridge`` frames between two sightings interpolated."""
    seen = np.isfinite(hand[..., :2]).all((1, 2))
    if not seen.any():
        return hand
    filled = fill(hand).coordinates
    filled = np.where(np.isfinite(hand).any(0)[None], filled, np.nan)
    number = np.arange(len(hand))
    before = np.maximum.accumulate(np.where(seen, number, -1))
    after = np.minimum.accumulate(np.where(seen, number, len(hand))[::-1])[::-1]
    short = (before >= 0) & (after < len(hand)) & (after - before <= bridge + 1)
    return np.where((seen | short)[:, None, None], filled, np.nan)


def _unit(points: np.ndarray, body: np.ndarray) -> float:
    """The body's palm length: from the shoulders where they are known, else from the hands, else from nothing."""
    widths = np.linalg.norm(body[:, sk.LEFT_SHOULDER] - body[:, sk.RIGHT_SHOULDER], axis=-1)
    if np.isfinite(widths).any() and np.nanmedian(widths) > 1e-6:
        return float(np.nanpercentile(widths, 75) / SHOULDER_WIDTH)  # turned shoulders look narrower
    palm = palm_length(points) * BODY_PER_PALM
    if not (np.isfinite(palm) and palm > 1e-6):
        return 0.1
    wrists = points[:, [side.start for side, *_ in SIDES], :2]
    away = np.linalg.norm(wrists - body[:, None, sk.NOSE], axis=-1)
    away = away[np.isfinite(away)]
    # Arms must reach their hands: palms seen from the side all the time look shorter than they are.
    return max(float(palm), float(np.percentile(away, 95)) / REACH if len(away) else 0.0)


def _nose(body: np.ndarray, hands: np.ndarray, unit: float) -> np.ndarray | None:
    """[T, 2]: found, or above the shoulders, or above where the hands are; None when nothing is known."""
    if np.isfinite(body[:, sk.NOSE]).all():
        return body[:, sk.NOSE]
    middle = body[:, [sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER]].mean(1)
    if np.isfinite(middle).all():
        return middle - np.array([0, SHOULDERS_BELOW_NOSE * unit], np.float32)
    seen = hands[..., :2].reshape(-1, 2)
    seen = seen[np.isfinite(seen).all(-1)]
    if not len(seen):
        return None
    place = np.median(seen, axis=0) - (0, (SHOULDERS_BELOW_NOSE + 1.5) * unit)
    return np.tile(place.astype(np.float32), (len(body), 1))


def _shoulders(body: np.ndarray, nose: np.ndarray, unit: float) -> np.ndarray:
    found = body[:, [sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER]]
    below = np.stack([OUTWARD * SHOULDER_WIDTH / 2, np.full(2, SHOULDERS_BELOW_NOSE)], axis=-1) * unit
    return _or(found, _smooth(nose)[:, None] + below)


def _smooth(path: np.ndarray, frames: int = 9) -> np.ndarray:
    """Moving average: a nod of the head does not shake the shoulders."""
    padded = np.pad(path, ((frames // 2, frames // 2), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, np.full(frames, 1 / frames), "valid") for column in padded.T], axis=-1)


def _wrists(hands: np.ndarray, body: np.ndarray, points: np.ndarray, shoulders: np.ndarray, unit: float) -> np.ndarray:
    """[T, 2, 2]: of the hand, else of the body, else on the way to a place of rest beside the hip."""
    found = []
    for i, (_, _, _, wrist) in enumerate(SIDES):
        known = np.where(np.isfinite(hands[:, i, 0, :2]), hands[:, i, 0, :2], points[:, wrist, :2])
        rest = shoulders[:, i] + unit * np.array([0.35 * OUTWARD[i], UPPER_ARM + 0.9 * FOREARM])
        seen = np.isfinite(known).all(-1)
        if not seen.any():
            found.append(rest)
            continue
        weight = np.clip(_distance(seen) / EASE, 0, 1)[:, None]
        weight = weight * weight * (3 - 2 * weight)
        path = fill(known[:, None]).coordinates[:, 0]
        found.append((1 - weight) * path + weight * rest)
    return np.stack(found, axis=1).astype(np.float32)


def _distance(seen: np.ndarray) -> np.ndarray:
    """Frames to the nearest True."""
    number = np.arange(len(seen))
    before = np.maximum.accumulate(np.where(seen, number, -len(seen)))
    after = np.minimum.accumulate(np.where(seen, number, 2 * len(seen))[::-1])[::-1]
    return np.minimum(number - before, after - number)


def bent(shoulder: np.ndarray, wrist: np.ndarray, unit: float, outward: float) -> np.ndarray:
    """Where the elbow [T, 2] is when only shoulder and wrist [T, 2] are known.

    Two bones of fixed length meet on a circle around the line from shoulder to wrist; hands sign before the body, so
    the line leads towards the camera, and the elbow hangs as low as the circle lets it, a little outward. An arm that
    is too short for a wrist is stretched.
    """
    reach = np.concatenate([wrist - shoulder, np.zeros((len(wrist), 1))], axis=1) / unit
    flat = np.linalg.norm(reach[:, :2], axis=-1)
    longest = 0.98 * (UPPER_ARM + FOREARM)
    reach[:, 2] = np.minimum(IN_FRONT, np.sqrt(np.maximum(longest**2 - flat**2, 0.0)))
    distance = np.maximum(np.linalg.norm(reach, axis=-1), 1e-6)
    stretch = np.maximum(distance / longest, 1.0)
    upper, fore = UPPER_ARM * stretch, FOREARM * stretch
    along = reach / distance[:, None]
    cosine = np.clip((upper**2 + distance**2 - fore**2) / (2 * upper * distance), -1, 1)
    hanging = np.array([0.45 * outward, 1.0, -0.3])
    across = hanging - along * (along @ hanging)[:, None]
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-6)
    elbow = upper[:, None] * (cosine[:, None] * along + np.sqrt(1 - cosine**2)[:, None] * across)
    return (shoulder + unit * elbow[:, :2]).astype(np.float32)


def _head(body: np.ndarray, nose: np.ndarray, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Center [T, 2] and half axes [T, 2] of the head: by ears and eyes where they are known, else around the nose."""
    ears = body[:, [LEFT_EAR, RIGHT_EAR]]
    center, size = nose - np.array([0, 0.22 * unit]), HEAD * unit
    widths = np.linalg.norm(ears[:, 0] - ears[:, 1], axis=-1)
    if np.isfinite(widths).any():
        wide = float(np.nanpercentile(widths, 75))
        size = wide * np.array([0.6, 0.6 * HEAD[1] / HEAD[0]])
        middle = 0.5 * ears.mean(1) + 0.5 * nose
        center = np.where(np.isfinite(middle), middle - np.array([0, 0.12 * wide]), center)
    return center.astype(np.float32), np.tile(size.astype(np.float32), (len(nose), 1))


def _nearness(hands: np.ndarray, points: np.ndarray) -> np.ndarray:
    """[T, 2]: minus the depth of the body's wrists where it is known, else the hand's size against its usual one."""
    depth = points[:, [wrist for *_, wrist in SIDES], 2]
    if np.isfinite(depth).all(-1).any():
        nearness = -np.where(np.isfinite(depth).all(-1, keepdims=True), depth, np.nan)
    else:
        spread = np.linalg.norm(hands[:, :, 5:18:4, :2] - hands[:, :, :1, :2], axis=-1).max(-1)
        usual = np.array([np.nanmedian(column) if np.isfinite(column).any() else np.nan for column in spread.T])
        nearness = spread / usual
    nearness = np.where(np.isfinite(nearness), nearness, 0.0)
    return _smooth(nearness).astype(np.float32)  # hands do not change places within a frame or two
