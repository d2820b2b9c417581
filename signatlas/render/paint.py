"""Painting of a person with OpenCV, back to front: hair, torso, head, arms, hands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from signatlas.render.appearance import Appearance, Color, shaded
from signatlas.render.crop import Square

SHIFT = 4  # OpenCV coordinates are in 1/16 pixel
FINGERS = tuple(tuple(range(first, first + 4)) for first in (1, 5, 9, 13, 17))
PALM = (0, 1, 5, 9, 13, 17)
FINGER_RADIUS = (0.115, 0.085)  # in palms, at the root and the tip
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
MOUTH = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
LIDS = ((33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
        (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466))  # fmt: skip
BROWS = ((70, 63, 105, 66, 107), (336, 296, 334, 293, 300))


@dataclass(frozen=True)
class Brush:
    """Canvas with drawing primitives, and the mapping of a person's coordinates to its pixels."""

    canvas: np.ndarray  # uint8 [S, S, 3], painted in place
    square: Square
    unit: float  # pixels of a body palm
    look: Appearance

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Return points in pixels of the canvas."""
        scale = len(self.canvas) / self.square.side
        corner = np.array([self.square.x, self.square.y]) - self.square.side / 2
        return (points - corner) * scale

    def disc(self, center: np.ndarray, radius: float, color: Color) -> None:
        """Draw a filled circle."""
        import cv2

        cv2.circle(self.canvas, _fixed_point(center), max(1, round(radius * 16)), color, -1, cv2.LINE_AA, SHIFT)

    def polygon(self, corners: np.ndarray, color: Color) -> None:
        """Draw a filled polygon, convex or not."""
        import cv2

        cv2.fillPoly(self.canvas, [_fixed_points(corners)], color, cv2.LINE_AA, SHIFT)

    def oval(self, center: np.ndarray, axes: tuple[float, float], color: Color, degrees: float = 0.0) -> None:
        """Draw a filled ellipse, rotated by ``degrees``."""
        import cv2

        sides = (max(1, round(axes[0] * 16)), max(1, round(axes[1] * 16)))
        cv2.ellipse(self.canvas, _fixed_point(center), sides, degrees, 0, 360, color, -1, cv2.LINE_AA, SHIFT)

    def limb(self, a: np.ndarray, b: np.ndarray, radii: tuple[float, float], color: Color) -> None:
        """Draw a tapered capsule from ``a`` to ``b``."""
        self.limbs(np.stack([a, b])[None], np.array([radii]), [color])

    def limbs(self, ends: np.ndarray, radii: np.ndarray, colors: list[Color]) -> None:
        """Draw tapered capsules, one over the other: ``ends`` [N, 2, 2], ``radii`` [N, 2] in pixels.

        Vectorized, because for the capsules of a hand the arithmetic takes longer than drawing.
        """
        import cv2

        along = ends[:, 1] - ends[:, 0]
        length = np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-3)
        side = np.stack([-along[:, 1], along[:, 0]], axis=-1) / length
        offset = side[:, None] * radii[..., None]
        quads = _fixed_points(np.concatenate([ends + offset, (ends - offset)[:, ::-1]], axis=1))
        centers, fixed_radii = _fixed_points(ends).tolist(), np.maximum(np.rint(radii * 16), 1).astype(int).tolist()
        for quad, (start, end), (start_radius, end_radius), color in zip(
            quads, centers, fixed_radii, colors, strict=True
        ):
            cv2.circle(self.canvas, start, start_radius, color, -1, cv2.LINE_AA, SHIFT)
            cv2.circle(self.canvas, end, end_radius, color, -1, cv2.LINE_AA, SHIFT)
            cv2.fillConvexPoly(self.canvas, quad, color, cv2.LINE_AA, SHIFT)


def _fixed_point(point: np.ndarray) -> tuple[int, int]:
    x, y = np.clip(point * 16, -(2**20), 2**20)
    return round(float(x)), round(float(y))


def _fixed_points(points: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(points * 16, -(2**20), 2**20)).astype(np.int32)


def person(canvas: np.ndarray, parts: dict[str, np.ndarray], unit: float, square: Square, look: Appearance) -> None:
    """Paint the parts of :meth:`signatlas.render.body.UpperBody.at` onto ``canvas``, in place."""
    brush = Brush(canvas, square, unit * len(canvas) / square.side, look)
    parts_px = {name: brush.pixels(p) for name, p in parts.items() if name not in ("nearness", "hands", "head_size")}
    head_size = parts["head_size"] * len(canvas) / square.side
    _hair(brush, parts_px, head_size)
    _torso(brush, parts_px)
    _head(brush, parts_px, head_size)
    if "face" in parts_px and np.isfinite(parts_px["face"]).all():
        _mesh_features(brush, parts_px["face"])
    else:
        _features(brush, parts_px, head_size)
    for side in np.argsort(parts["nearness"], kind="stable"):  # the farther hand first
        _arm(brush, parts_px["shoulders"][side], parts_px["elbows"][side], parts_px["wrists"][side])
        hand = parts["hands"][side]
        if np.isfinite(hand[:, :2]).all():
            _hand(brush, np.concatenate([brush.pixels(hand[:, :2]), hand[:, 2:]], axis=1), left=side == 0)
        else:
            _fist(brush, parts_px["elbows"][side], parts_px["wrists"][side])


def _roll(eyes: np.ndarray) -> float:
    """Return the roll of the head in degrees, from the line between the signer's right and left eye."""
    across = eyes[0] - eyes[1]
    return float(np.degrees(np.arctan2(across[1], max(across[0], 1e-3))))


def _hair(brush: Brush, parts_px: dict[str, np.ndarray], size: np.ndarray) -> None:
    roll = _roll(parts_px["eyes"])
    crown = parts_px["head"] - np.array([0, 0.16 * size[1]])
    brush.oval(crown, (1.14 * size[0], 1.02 * size[1]), brush.look.hair, roll)
    if brush.look.long_hair:
        brush.oval(parts_px["head"] + np.array([0, 0.55 * size[1]]), (1.22 * size[0], 1.15 * size[1]), brush.look.hair)


def _torso(brush: Brush, parts_px: dict[str, np.ndarray]) -> None:
    look, unit = brush.look, brush.unit * brush.look.stoutness
    left, right = parts_px["shoulders"]
    radius = 0.55 * unit
    edge = shaded(look.clothing, 0.8)
    for color, extra in ((edge, 1.0), (look.clothing, 0.0)):
        wide = np.array([extra, 0])
        brush.limb(left, right, (radius + extra, radius + extra), color)
        low = np.array([0, len(brush.canvas)])  # below the picture's edge
        outline = [right - wide - [radius * 0.8, 0], left + wide + [radius * 0.8, 0],
                   parts_px["hips"][0] + low + wide, parts_px["hips"][1] + low - wide]  # fmt: skip
        brush.polygon(np.stack(outline), color)
        brush.polygon(_shoulder_slope(left, right, radius + extra, unit), color)
    middle = (left + right) / 2
    throat = middle - np.array([0, 0.6 * unit])
    brush.limb(parts_px["head"], throat, (0.46 * unit, 0.5 * unit), shaded(look.skin, 0.82))
    brush.oval(middle - np.array([0, 0.72 * unit]), (0.66 * unit, 0.42 * unit), shaded(look.skin, 0.88))


def _shoulder_slope(left: np.ndarray, right: np.ndarray, radius: float, unit: float) -> np.ndarray:
    """Return the polygon from the tops of the shoulders to the neck."""
    middle = (left + right) / 2
    collar = middle - np.array([0, radius + 0.42 * unit])
    wide = np.array([0.62 * unit, 0])
    return np.stack([right - [0, 0.8 * radius], collar - wide, collar + wide, left - [0, 0.8 * radius]])


def _head(brush: Brush, parts_px: dict[str, np.ndarray], size: np.ndarray) -> None:
    look, roll = brush.look, _roll(parts_px["eyes"])
    brush.oval(parts_px["head"], (size[0] + 1, size[1] + 1), shaded(look.skin, 0.72), roll)
    brush.oval(parts_px["head"], (size[0], size[1]), look.skin, roll)
    # Hair on top of the head.
    up = np.array([np.sin(np.radians(roll)), -np.cos(np.radians(roll))])
    brush.oval(parts_px["head"] + 0.82 * size[1] * up, (0.86 * size[0], 0.34 * size[1]), look.hair, roll)


def _features(brush: Brush, parts_px: dict[str, np.ndarray], size: np.ndarray) -> None:
    """Paint eyes, brows, nose and a closed mouth."""
    look, roll, wide = brush.look, _roll(parts_px["eyes"]), size[0]
    for eye in parts_px["eyes"]:
        brush.oval(eye, (0.19 * wide, 0.11 * wide), (244, 244, 240), roll)
        brush.disc(eye, 0.1 * wide, (44, 32, 26))
        brow = eye - np.array([0, 0.27 * wide])
        brush.oval(brow, (0.24 * wide, 0.05 * wide), shaded(look.hair, 0.9), roll)
    brush.oval(parts_px["nose"], (0.13 * wide, 0.1 * wide), shaded(look.skin, 0.8), roll)
    left, right = parts_px["mouth"]
    lips = shaded((_mean_color(look.skin, (170, 60, 66))), 0.9)
    brush.limb(left, right, (0.055 * wide, 0.055 * wide), lips)


def _mesh_features(brush: Brush, mesh: np.ndarray) -> None:
    """Paint the face from MediaPipe's face mesh [478, 2], with open or closed eyes and mouth."""
    look = brush.look
    thick = 0.014 * float(np.ptp(mesh[:, 0]))
    for lids in LIDS:
        eye = mesh[list(lids)]
        brush.polygon(eye, (244, 244, 240))
        iris = eye.mean(0)
        brush.disc(iris, 0.42 * max(float(np.ptp(eye[:, 1])), thick), (44, 32, 26))
    for brow in BROWS:
        ends = np.stack([mesh[list(brow[:-1])], mesh[list(brow[1:])]], axis=1)
        brush.limbs(ends, np.full((len(ends), 2), 1.6 * thick), [shaded(look.hair, 0.9)] * len(ends))
    brush.oval(mesh[1], (5 * thick, 3.5 * thick), shaded(look.skin, 0.8))
    brush.polygon(mesh[list(LIPS)], shaded(_mean_color(look.skin, (170, 60, 66)), 0.9))
    brush.polygon(mesh[list(MOUTH)], (70, 24, 26))


def _mean_color(first: Color, second: Color) -> Color:
    red, green, blue = ((a + b) // 2 for a, b in zip(first, second, strict=True))
    return red, green, blue


def _arm(brush: Brush, shoulder: np.ndarray, elbow: np.ndarray, wrist: np.ndarray) -> None:
    look, unit = brush.look, brush.unit * brush.look.stoutness
    radii = (0.52 * unit, 0.4 * unit, 0.26 * unit)
    edge = max(1.0, 0.06 * brush.unit)
    upper = (shoulder, elbow, radii[:2], look.clothing)
    fore = (elbow, wrist, radii[1:], look.clothing if look.long_sleeves else look.skin)
    # The forearm is nearer to the camera, but a short sleeve covers it.
    for a, b, limb_radii, color in (upper, fore) if look.long_sleeves else (fore, upper):
        brush.limb(a, b, (limb_radii[0] + edge, limb_radii[1] + edge), shaded(color, 0.66))
        brush.limb(a, b, (limb_radii[0], limb_radii[1]), color)


def _fist(brush: Brush, elbow: np.ndarray, wrist: np.ndarray) -> None:
    """Paint a hand without points: a disc at the end of the forearm."""
    along = wrist - elbow
    center = wrist + 0.45 * brush.unit * along / max(float(np.linalg.norm(along)), 1e-3)
    brush.disc(center, 0.44 * brush.unit, shaded(brush.look.skin, 0.72))
    brush.disc(center, 0.40 * brush.unit, brush.look.skin)


def _hand(brush: Brush, points: np.ndarray, *, left: bool) -> None:
    """Paint a hand [21, 3], x and y in pixels: fingers behind the palm, palm, fingers in front of it."""
    flat = points[:, :2]
    knuckles = np.linalg.norm(flat[[5, 9, 13, 17]] - flat[0], axis=-1).max()
    breadth = np.linalg.norm(flat[5] - flat[17])
    palm = max(knuckles, 1.3 * breadth, 0.45 * brush.unit)
    index, pinky = flat[5] - flat[0], flat[17] - flat[0]
    orientation = float(index[0] * pinky[1] - index[1] * pinky[0]) * (1 if left else -1)
    shows_palm = orientation > 0  # with the right palm forward, the index finger is right of the little finger
    skin = shaded(brush.look.skin, 1.12 if shows_palm else 0.94)
    edge = max(0.8, 0.035 * palm)
    behind, in_front = _finger_order(points, shows_palm)
    _fingers(brush, flat, behind, palm, edge, shaded(skin, 0.9))
    _palm(brush, flat, palm, edge, skin)
    _fingers(brush, flat, in_front, palm, edge, skin)


def _finger_order(points: np.ndarray, shows_palm: bool) -> tuple[list[int], list[int]]:
    """Return fingers behind and in front of the palm, farthest first: by depth, else by which fingers are folded."""
    depth = np.array([points[list(finger[1:]), 2].mean() for finger in FINGERS])
    if np.isfinite(depth).all():
        middle = points[[0, 5, 9, 13, 17], 2].mean()
        order = np.argsort(-depth, kind="stable").tolist()  # MediaPipe's z increases away from the camera
        return [f for f in order if depth[f] > middle], [f for f in order if depth[f] <= middle]
    folded = [
        np.linalg.norm(points[finger[3], :2] - points[0, :2]) < np.linalg.norm(points[finger[1], :2] - points[0, :2])
        for finger in FINGERS
    ]
    if shows_palm:  # folded fingers, and the thumb over them, are in front of the palm
        return [], [4, 3, 2, 1, 0]
    return [f for f in (0, 4, 3, 2, 1) if folded[f] or f == 0], [f for f in (4, 3, 2, 1) if not folded[f]]


def _fingers(brush: Brush, flat: np.ndarray, fingers: list[int], palm: float, edge: float, skin: Color) -> None:
    """Paint fingers one by one, each on a wider, darker outline that separates neighbors."""
    if not fingers:
        return
    ends, radii, colors = [], [], []
    taper = np.linspace(*FINGER_RADIUS, 4) * palm * brush.look.stoutness
    for finger in fingers:
        chain = flat[list(FINGERS[finger])]
        thick = np.maximum(taper * (1.15 if finger == 0 else 1.0), 0.9)
        for outline, color in ((edge, shaded(skin, 0.6)), (0.0, skin)):
            ends.append(np.stack([chain[:-1], chain[1:]], axis=1))
            radii.append(np.stack([thick[:-1], thick[1:]], axis=1) + outline)
            colors += [color] * 3
    brush.limbs(np.concatenate(ends), np.concatenate(radii), colors)


def _palm(brush: Brush, flat: np.ndarray, palm: float, edge: float, skin: Color) -> None:
    import cv2

    hull = cv2.convexHull(flat[list(PALM)].astype(np.float32))[:, 0].astype(np.float64)
    sides = np.stack([hull, np.roll(hull, -1, axis=0)], axis=1)
    for outline, color in ((edge, shaded(skin, 0.6)), (0.0, skin)):
        radii = np.full((len(hull), 2), 0.12 * palm * brush.look.stoutness + outline)
        brush.limbs(sides, radii, [color] * len(hull))
        brush.polygon(hull, color)
