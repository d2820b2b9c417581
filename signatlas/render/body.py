"""Estimation of a complete upper body from incomplete poses, for rendering only."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from signatlas.pose import skeleton as sk
from signatlas.pose.normalize import FACE_ABOVE_SHOULDERS, TORSO_PER_SHOULDER_WIDTH, fill, palm_length

# Body proportions in palms (wrist to middle knuckle), for missing points.
SHOULDER_WIDTH = 3.85
SHOULDERS_BELOW_NOSE = FACE_ABOVE_SHOULDERS * TORSO_PER_SHOULDER_WIDTH * SHOULDER_WIDTH
TORSO = TORSO_PER_SHOULDER_WIDTH * SHOULDER_WIDTH
UPPER_ARM, FOREARM = 3.0, 2.6
REACH = 0.95 * (UPPER_ARM + FOREARM) + SHOULDERS_BELOW_NOSE  # from the nose straight down
IN_FRONT = 2.4  # distance of signing hands in front of the shoulders
HEAD = np.array([0.88, 1.2])  # half width and half height
# Hands are nearer to the camera than the body and look larger.
BODY_PER_PALM = 0.9
SHOULDERS_PER_NOSE_HEIGHT, ASPECTS = 1.6, (9 / 16, 3 / 4, 1.0, 4 / 3, 16 / 9)
EASE = 6  # frames an arm takes to sink to rest after its hand was last seen
SIDES = ((sk.LEFT_HAND, sk.LEFT_SHOULDER, sk.LEFT_ELBOW, sk.LEFT_WRIST),
         (sk.RIGHT_HAND, sk.RIGHT_SHOULDER, sk.RIGHT_ELBOW, sk.RIGHT_WRIST))  # fmt: skip
OUTWARD = np.array([1.0, -1.0])  # the signer's left side is on the right of the picture
LEFT_EAR, RIGHT_EAR, LEFT_EYE, RIGHT_EYE, MOUTH_LEFT, MOUTH_RIGHT = 7, 8, 2, 5, 9, 10


@dataclass(frozen=True)
class UpperBody:
    """Upper body in T frames, left side first; float32, in shares of the picture height (x multiplied by the aspect).

    ``unit`` is the palm length of the body. ``hands`` is NaN for missing hands. ``nearness`` is larger for the hand
    nearer to the camera.
    """

    unit: float
    head: np.ndarray  # [T, 2] center
    head_size: np.ndarray  # [T, 2] half width, half height
    eyes: np.ndarray  # [T, 2, 2]
    nose: np.ndarray  # [T, 2]
    mouth: np.ndarray  # [T, 2, 2] corners
    shoulders: np.ndarray  # [T, 2, 2]
    elbows: np.ndarray  # [T, 2, 2]
    wrists: np.ndarray  # [T, 2, 2]
    hips: np.ndarray  # [T, 2, 2]
    hands: np.ndarray  # [T, 2, 21, 3]
    nearness: np.ndarray  # [T, 2]
    face: np.ndarray | None  # [T, 478, 2]

    def at(self, time: float) -> dict[str, np.ndarray]:
        """Interpolate all parts at a fractional frame number; a hand missing in one frame is taken from the other."""
        low = min(int(time), len(self.head) - 1)
        high, share = min(low + 1, len(self.head) - 1), np.float32(time - low)
        parts = {}
        for name in (f.name for f in fields(self) if f.name != "unit"):
            values = getattr(self, name)
            if values is not None:
                mixed = (1 - share) * values[low] + share * values[high]
                parts[name] = np.where(np.isnan(mixed), values[low], mixed)
        return parts


def estimate_body(
    poses: np.ndarray, aspect: float, *, bridge: int = 5, face: np.ndarray | None = None
) -> UpperBody | None:
    """Estimate the upper body of ``poses`` [T, 75, 3] in image units, for a picture of width/height ``aspect``.

    Body points missing in some frames are interpolated over time. Points missing in all frames are estimated:
    shoulders from the nose and the palm length (or the nose from the shoulders), elbows by :func:`estimate_elbow`. An
    arm whose hand is missing for more than ``bridge`` frames sinks to rest. ``poses`` is not changed. Returns None if
    no frame has a nose, shoulders or a hand.
    """
    points = poses.astype(np.float32).copy()
    points[..., 0] *= aspect
    points[..., 2] *= aspect
    filled = fill(points[:, sk.BODY])
    body = np.where(filled.present.any(0)[None, :, None], filled.coordinates, np.nan)[..., :2]
    hands = np.stack([_bridge_gaps(points[:, side], bridge) for side, *_ in SIDES], axis=1)
    unit = _palm_unit(points, body)
    nose = _nose(body, hands, unit)
    if nose is None:
        return None
    shoulders = _shoulders(body, nose, unit)
    wrists = _wrists(hands, body, points, shoulders, unit)
    head, head_size = _head(body, nose, unit)
    elbows = np.stack(
        [
            body[:, elbow]
            if np.isfinite(body[:, elbow]).all()
            else estimate_elbow(shoulders[:, i], wrists[:, i], unit, sign)
            for i, ((_, _, elbow, _), sign) in enumerate(zip(SIDES, OUTWARD, strict=True))
        ],
        axis=1,
    )
    down = np.stack([-0.25 * OUTWARD * unit, np.full(2, TORSO * unit)], axis=-1)
    return UpperBody(
        unit=unit,
        head=head,
        head_size=head_size,
        eyes=_detected_or(
            body[:, [LEFT_EYE, RIGHT_EYE]], nose[:, None] + unit * np.array([[0.33, -0.42], [-0.33, -0.42]])
        ),
        nose=nose,
        mouth=_detected_or(
            body[:, [MOUTH_LEFT, MOUTH_RIGHT]], nose[:, None] + unit * np.array([[0.28, 0.36], [-0.28, 0.36]])
        ),
        shoulders=shoulders,
        elbows=elbows,
        wrists=wrists,
        hips=shoulders + down.astype(np.float32),
        hands=hands,
        nearness=_nearness(hands, points),
        face=None if face is None else (face[..., :2] * np.array([aspect, 1.0])).astype(np.float32),
    )


def estimate_aspect(poses: np.ndarray) -> float | None:
    """Estimate an unknown width/height of the picture from the body: one of :data:`ASPECTS`, or None.

    The shoulder width is about 1.6 times the height of the nose above the shoulders (1.49 and 1.72 in two videos of
    known size).
    """
    shoulders = poses[:, [sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER], :2]
    shoulder_width = np.abs(shoulders[:, 0, 0] - shoulders[:, 1, 0])
    nose_height = shoulders[..., 1].mean(1) - poses[:, sk.NOSE, 1]
    ratio = shoulder_width / np.where(nose_height > 1e-3, nose_height, np.nan)
    if not (np.isfinite(ratio) & (ratio > 0)).any():
        return None
    log_aspect = np.log(SHOULDERS_PER_NOSE_HEIGHT / np.nanpercentile(ratio, 75))  # turned shoulders look narrower
    return min(ASPECTS, key=lambda aspect: abs(np.log(aspect) - log_aspect))


def _detected_or(detected: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(detected), detected, estimate).astype(np.float32)


def _bridge_gaps(hand: np.ndarray, bridge: int) -> np.ndarray:
    """Interpolate gaps of up to ``bridge`` frames of a hand [T, 21, 3]."""
    seen = np.isfinite(hand[..., :2]).all((1, 2))
    if not seen.any():
        return hand
    filled = fill(hand).coordinates
    filled = np.where(np.isfinite(hand).any(0)[None], filled, np.nan)
    frames = np.arange(len(hand))
    before = np.maximum.accumulate(np.where(seen, frames, -1))
    after = np.minimum.accumulate(np.where(seen, frames, len(hand))[::-1])[::-1]
    short = (before >= 0) & (after < len(hand)) & (after - before <= bridge + 1)
    return np.where((seen | short)[:, None, None], filled, np.nan)


def _palm_unit(points: np.ndarray, body: np.ndarray) -> float:
    """Return the palm length of the body: from the shoulders, else from the hands, else a default."""
    widths = np.linalg.norm(body[:, sk.LEFT_SHOULDER] - body[:, sk.RIGHT_SHOULDER], axis=-1)
    if np.isfinite(widths).any() and np.nanmedian(widths) > 1e-6:
        return float(np.nanpercentile(widths, 75) / SHOULDER_WIDTH)  # turned shoulders look narrower
    palm = palm_length(points) * BODY_PER_PALM
    if not (np.isfinite(palm) and palm > 1e-6):
        return 0.1
    wrists = points[:, [side.start for side, *_ in SIDES], :2]
    distances = np.linalg.norm(wrists - body[:, None, sk.NOSE], axis=-1)
    distances = distances[np.isfinite(distances)]
    # Arms must reach the hands: palms seen from the side look too short.
    return max(float(palm), float(np.percentile(distances, 95)) / REACH if len(distances) else 0.0)


def _nose(body: np.ndarray, hands: np.ndarray, unit: float) -> np.ndarray | None:
    """Return the nose [T, 2]: as detected, or above the shoulders, or above the hands; None without any of them."""
    if np.isfinite(body[:, sk.NOSE]).all():
        return body[:, sk.NOSE]
    middle = body[:, [sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER]].mean(1)
    if np.isfinite(middle).all():
        return middle - np.array([0, SHOULDERS_BELOW_NOSE * unit], np.float32)
    seen = hands[..., :2].reshape(-1, 2)
    seen = seen[np.isfinite(seen).all(-1)]
    if not len(seen):
        return None
    position = np.median(seen, axis=0) - (0, (SHOULDERS_BELOW_NOSE + 1.5) * unit)
    return np.tile(position.astype(np.float32), (len(body), 1))


def _shoulders(body: np.ndarray, nose: np.ndarray, unit: float) -> np.ndarray:
    detected = body[:, [sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER]]
    estimate = np.stack([OUTWARD * SHOULDER_WIDTH / 2, np.full(2, SHOULDERS_BELOW_NOSE)], axis=-1) * unit
    return _detected_or(detected, _smooth(nose)[:, None] + estimate)


def _smooth(path: np.ndarray, frames: int = 9) -> np.ndarray:
    """Return the moving average of a path, so that nods do not move the shoulders."""
    padded = np.pad(path, ((frames // 2, frames // 2), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, np.full(frames, 1 / frames), "valid") for column in padded.T], axis=-1)


def _wrists(hands: np.ndarray, body: np.ndarray, points: np.ndarray, shoulders: np.ndarray, unit: float) -> np.ndarray:
    """Return wrists [T, 2, 2]: of the hand, else of the body, else moving to rest next to the hip."""
    wrists = []
    for i, (_, _, _, wrist) in enumerate(SIDES):
        known = np.where(np.isfinite(hands[:, i, 0, :2]), hands[:, i, 0, :2], points[:, wrist, :2])
        rest = shoulders[:, i] + unit * np.array([0.35 * OUTWARD[i], UPPER_ARM + 0.9 * FOREARM])
        seen = np.isfinite(known).all(-1)
        if not seen.any():
            wrists.append(rest)
            continue
        weight = np.clip(_frames_to_nearest(seen) / EASE, 0, 1)[:, None]
        weight = weight * weight * (3 - 2 * weight)
        path = fill(known[:, None]).coordinates[:, 0]
        wrists.append((1 - weight) * path + weight * rest)
    return np.stack(wrists, axis=1).astype(np.float32)


def _frames_to_nearest(seen: np.ndarray) -> np.ndarray:
    """Return the number of frames to the nearest True."""
    frames = np.arange(len(seen))
    before = np.maximum.accumulate(np.where(seen, frames, -len(seen)))
    after = np.minimum.accumulate(np.where(seen, frames, 2 * len(seen))[::-1])[::-1]
    return np.minimum(frames - before, after - frames)


def estimate_elbow(shoulder: np.ndarray, wrist: np.ndarray, unit: float, outward: float) -> np.ndarray:
    """Estimate the elbow [T, 2] from shoulder and wrist [T, 2].

    Two bones of fixed length meet on a circle around the line from shoulder to wrist. The wrist is assumed in front of
    the body, and the elbow is the lowest point of the circle, slightly outward. An arm too short for its wrist is
    stretched.
    """
    reach = np.concatenate([wrist - shoulder, np.zeros((len(wrist), 1))], axis=1) / unit
    image_distance = np.linalg.norm(reach[:, :2], axis=-1)
    longest = 0.98 * (UPPER_ARM + FOREARM)
    reach[:, 2] = np.minimum(IN_FRONT, np.sqrt(np.maximum(longest**2 - image_distance**2, 0.0)))
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
    """Return center [T, 2] and half axes [T, 2] of the head: from the ears, else from the nose."""
    ears = body[:, [LEFT_EAR, RIGHT_EAR]]
    center, size = nose - np.array([0, 0.22 * unit]), HEAD * unit
    widths = np.linalg.norm(ears[:, 0] - ears[:, 1], axis=-1)
    if np.isfinite(widths).any():
        ear_distance = float(np.nanpercentile(widths, 75))
        size = ear_distance * np.array([0.6, 0.6 * HEAD[1] / HEAD[0]])
        middle = 0.5 * ears.mean(1) + 0.5 * nose
        center = np.where(np.isfinite(middle), middle - np.array([0, 0.12 * ear_distance]), center)
    return center.astype(np.float32), np.tile(size.astype(np.float32), (len(nose), 1))


def _nearness(hands: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return nearness [T, 2]: negative depth of the body's wrists, else hand size relative to its median."""
    depth = points[:, [wrist for *_, wrist in SIDES], 2]
    if np.isfinite(depth).all(-1).any():
        nearness = -np.where(np.isfinite(depth).all(-1, keepdims=True), depth, np.nan)
    else:
        spread = np.linalg.norm(hands[:, :, 5:18:4, :2] - hands[:, :, :1, :2], axis=-1).max(-1)
        usual = np.array([np.nanmedian(column) if np.isfinite(column).any() else np.nan for column in spread.T])
        nearness = spread / usual
    nearness = np.where(np.isfinite(nearness), nearness, 0.0)
    return _smooth(nearness).astype(np.float32)  # the order of the hands does not change within a few frames
