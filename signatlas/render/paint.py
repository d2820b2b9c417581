"""A person's picture, painted back to front with OpenCV: hair, torso, head, arms, hands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from signatlas.render.appearance import Appearance, Color, shaded
from signatlas.render.crop import Square

SHIFT = 4  # OpenCV takes coordinates in 1/16 pixel
FINGERS = tuple(tuple(range(first, first + 4)) for first in (1, 5, 9, 13, 17))
PALM = (0, 1, 5, 9, 13, 17)
FINGER_RADIUS = (0.115, 0.085)  # in palms, at its root and at its tip
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
MOUTH = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
LIDS = ((33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
        (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466))  # fmt: skip
BROWS = ((70, 63, 105, 66, 107), (336, 296, 334, 293, 300))


@dataclass(frozen=True)
class Brush:
    """Where to paint, and how large: maps a person's coordinates to pixels of ``square``."""

    canvas: np.ndarray  # uint8 [S, S, 3], painted in place
    square: Square
    unit: float  # pixels of a body palm
    look: Appearance

    def pixels(self, points: np.ndarray) -> np.ndarray:
        scale = len(self.canvas) / self.square.side
        corner = np.array([self.square.x, self.square.y]) - self.square.side / 2
        return (points - corner) * scale

    def disc(self, center: np.ndarray, radius: float, color: Color) -> None:
        import cv2

        cv2.circle(self.canvas, _fixed(center), max(1, round(radius * 16)), color, -1, cv2.LINE_AA, SHIFT)

    def polygon(self, corners: np.ndarray, color: Color) -> None:
        """A filled polygon, hollow corners and all."""
        import cv2

        cv2.fillPoly(self.canvas, [_fixed_all(corners)], color, cv2.LINE_AA, SHIFT)

    def oval(self, center: np.ndarray, axes: tuple[float, float], color: Color, degrees: float = 0.0) -> None:
        import cv2

        sides = (max(1, round(axes[0] * 16)), max(1, round(axes[1] * 16)))
        cv2.ellipse(self.canvas, _fixed(center), sides, degrees, 0, 360, color, -1, cv2.LINE_AA, SHIFT)

    def limb(self, a: np.ndarray, b: np.ndarray, radii: tuple[float, float], color: Color) -> None:
        """A tapered capsule from ``a`` to ``b``."""
        self.limbs(np.stack([a, b])[None], np.array([radii]), [color])

    def limbs(self, ends: np.ndarray, radii: np.ndarray, colors: list[Color]) -> None:
        """Tapered capsules one over the other: ``ends`` [N, 2, 2], ``radii`` [N, 2] in pixels.

        The arithmetic is done for all at once: in a hand it would take longer than the painting.
        """
        import cv2

        along = ends[:, 1] - ends[:, 0]
        length = np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-3)
        side = np.stack([-along[:, 1], along[:, 0]], axis=-1) / length
        offset = side[:, None] * radii[..., None]
        quads = _fixed_all(np.concatenate([ends + offset, (ends - offset)[:, ::-1]], axis=1))
        centers, rounds = _fixed_all(ends).tolist(), np.maximum(np.rint(radii * 16), 1).astype(int).tolist()
        for quad, (one, other), (wide, narrow), color in zip(quads, centers, rounds, colors, strict=True):
            cv2.circle(self.canvas, one, wide, color, -1, cv2.LINE_AA, SHIFT)
            cv2.circle(self.canvas, other, narrow, color, -1, cv2.LINE_AA, SHIFT)
            cv2.fillConvexPoly(self.canvas, quad, color, cv2.LINE_AA, SHIFT)


def _fixed(point: np.ndarray) -> tuple[int, int]:
    x, y = np.clip(point * 16, -(2**20), 2**20)
    return round(float(x)), round(float(y))


def _fixed_all(points: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(points * 16, -(2**20), 2**20)).astype(np.int32)


def person(canvas: np.ndarray, parts: dict[str, np.ndarray], unit: float, square: Square, look: Appearance) -> None:
    """Paint one moment of a :class:`signatlas.render.body.Figure` (its ``at``) onto ``canvas``, in place."""
    brush = Brush(canvas, square, unit * len(canvas) / square.side, look)
    drawn = {name: brush.pixels(p) for name, p in parts.items() if name not in ("nearness", "hands", "head_size")}
    head_size = parts["head_size"] * len(canvas) / square.side
    _hair(brush, drawn, head_size)
    _torso(brush, drawn)
    _head(brush, drawn, head_size)
    if "face" in drawn and np.isfinite(drawn["face"]).all():
        _mesh_features(brush, drawn["face"])
    else:
        _features(brush, drawn, head_size)
    for side in np.argsort(parts["nearness"], kind="stable"):  # the farther one first
        _arm(brush, drawn["shoulders"][side], drawn["elbows"][side], drawn["wrists"][side])
        hand = parts["hands"][side]
        if np.isfinite(hand[:, :2]).all():
            _hand(brush, np.concatenate([brush.pixels(hand[:, :2]), hand[:, 2:]], axis=1), left=side == 0)
        else:
            _fist(brush, drawn["elbows"][side], drawn["wrists"][side])


def _roll(eyes: np.ndarray) -> float:
    """Degrees by which the head leans: the line from the signer's right eye (left in the picture) to the left one."""
    across = eyes[0] - eyes[1]
    return float(np.degrees(np.arctan2(across[1], max(across[0], 1e-3))))


def _hair(brush: Brush, drawn: dict[str, np.ndarray], size: np.ndarray) -> None:
    roll = _roll(drawn["eyes"])
    crown = drawn["head"] - np.array([0, 0.16 * size[1]])
    brush.oval(crown, (1.14 * size[0], 1.02 * size[1]), brush.look.hair, roll)
    if brush.look.long_hair:
        brush.oval(drawn["head"] + np.array([0, 0.55 * size[1]]), (1.22 * size[0], 1.15 * size[1]), brush.look.hair)


def _torso(brush: Brush, drawn: dict[str, np.ndarray]) -> None:
    look, unit = brush.look, brush.unit * brush.look.stoutness
    left, right = drawn["shoulders"]
    radius = 0.55 * unit
    edge = shaded(look.clothing, 0.8)
    for color, grown in ((edge, 1.0), (look.clothing, 0.0)):
        wide = np.array([grown, 0])
        brush.limb(left, right, (radius + grown, radius + grown), color)
        low = np.array([0, len(brush.canvas)])  # below the picture's edge
        outline = [right - wide - [radius * 0.8, 0], left + wide + [radius * 0.8, 0],
                   drawn["hips"][0] + low + wide, drawn["hips"][1] + low - wide]  # fmt: skip
        brush.polygon(np.stack(outline), color)
        brush.polygon(_slope(left, right, radius + grown, unit), color)
    middle = (left + right) / 2
    throat = middle - np.array([0, 0.6 * unit])
    brush.limb(drawn["head"], throat, (0.46 * unit, 0.5 * unit), shaded(look.skin, 0.82))
    brush.oval(middle - np.array([0, 0.72 * unit]), (0.66 * unit, 0.42 * unit), shaded(look.skin, 0.88))


def _slope(left: np.ndarray, right: np.ndarray, radius: float, unit: float) -> np.ndarray:
    """From the tops of the shoulders up to the neck."""
    middle = (left + right) / 2
    collar = middle - np.array([0, radius + 0.42 * unit])
    wide = np.array([0.62 * unit, 0])
    return np.stack([right - [0, 0.8 * radius], collar - wide, collar + wide, left - [0, 0.8 * radius]])


def _head(brush: Brush, drawn: dict[str, np.ndarray], size: np.ndarray) -> None:
    look, roll = brush.look, _roll(drawn["eyes"])
    brush.oval(drawn["head"], (size[0] + 1, size[1] + 1), shaded(look.skin, 0.72), roll)
    brush.oval(drawn["head"], (size[0], size[1]), look.skin, roll)
    # The hairline: a cap over the top of the oval.
    up = np.array([np.sin(np.radians(roll)), -np.cos(np.radians(roll))])
    brush.oval(drawn["head"] + 0.82 * size[1] * up, (0.86 * size[0], 0.34 * size[1]), look.hair, roll)


def _features(brush: Brush, drawn: dict[str, np.ndarray], size: np.ndarray) -> None:
    """Eyes, brows, nose and a closed mouth."""
    look, roll, wide = brush.look, _roll(drawn["eyes"]), size[0]
    for eye in drawn["eyes"]:
        brush.oval(eye, (0.19 * wide, 0.11 * wide), (244, 244, 240), roll)
        brush.disc(eye, 0.1 * wide, (44, 32, 26))
        brow = eye - np.array([0, 0.27 * wide])
        brush.oval(brow, (0.24 * wide, 0.05 * wide), shaded(look.hair, 0.9), roll)
    brush.oval(drawn["nose"], (0.13 * wide, 0.1 * wide), shaded(look.skin, 0.8), roll)
    left, right = drawn["mouth"]
    lips = shaded((_mixed(look.skin, (170, 60, 66))), 0.9)
    brush.limb(left, right, (0.055 * wide, 0.055 * wide), lips)


def _mesh_features(brush: Brush, mesh: np.ndarray) -> None:
    """The same from MediaPipe's face mesh [478, 2], with open or closed eyes and mouth."""
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
    brush.polygon(mesh[list(LIPS)], shaded(_mixed(look.skin, (170, 60, 66)), 0.9))
    brush.polygon(mesh[list(MOUTH)], (70, 24, 26))


def _mixed(one: Color, other: Color) -> Color:
    red, green, blue = ((a + b) // 2 for a, b in zip(one, other, strict=True))
    return red, green, blue


def _arm(brush: Brush, shoulder: np.ndarray, elbow: np.ndarray, wrist: np.ndarray) -> None:
    look, unit = brush.look, brush.unit * brush.look.stoutness
    radii = (0.52 * unit, 0.4 * unit, 0.26 * unit)
    edge = max(1.0, 0.06 * brush.unit)
    upper = (shoulder, elbow, radii[:2], look.clothing)
    fore = (elbow, wrist, radii[1:], look.clothing if look.long_sleeves else look.skin)
    # The forearm is nearer to the camera, but a short sleeve lies over it.
    for a, b, wide, color in (upper, fore) if look.long_sleeves else (fore, upper):
        brush.limb(a, b, (wide[0] + edge, wide[1] + edge), shaded(color, 0.66))
        brush.limb(a, b, (wide[0], wide[1]), color)


def _fist(brush: Brush, elbow: np.ndarray, wrist: np.ndarray) -> None:
    """A hand of which no point is known: a shape without fingers at the end of the forearm."""
    along = wrist - elbow
    center = wrist + 0.45 * brush.unit * along / max(float(np.linalg.norm(along)), 1e-3)
    brush.disc(center, 0.44 * brush.unit, shaded(brush.look.skin, 0.72))
    brush.disc(center, 0.40 * brush.unit, brush.look.skin)


def _hand(brush: Brush, points: np.ndarray, *, left: bool) -> None:
    """Fingers as capsules, those behind the palm first; ``points`` [21, 3] with x and y in pixels."""
    flat = points[:, :2]
    knuckles = np.linalg.norm(flat[[5, 9, 13, 17]] - flat[0], axis=-1).max()
    breadth = np.linalg.norm(flat[5] - flat[17])
    palm = max(knuckles, 1.3 * breadth, 0.45 * brush.unit)
    index, pinky = flat[5] - flat[0], flat[17] - flat[0]
    turn = float(index[0] * pinky[1] - index[1] * pinky[0]) * (1 if left else -1)
    shows_palm = turn > 0  # of the signer's right hand, palm forward, the index is right of the little finger
    skin = shaded(brush.look.skin, 1.12 if shows_palm else 0.94)
    edge = max(0.8, 0.035 * palm)
    behind, before = _order(points, shows_palm)
    _fingers(brush, flat, behind, palm, edge, shaded(skin, 0.9))
    _palm(brush, flat, palm, edge, skin)
    _fingers(brush, flat, before, palm, edge, skin)


def _order(points: np.ndarray, shows_palm: bool) -> tuple[list[int], list[int]]:
    """Fingers behind the palm and before it, each the farthest first: by depth, else by how a hand folds."""
    depth = np.array([points[list(finger[1:]), 2].mean() for finger in FINGERS])
    if np.isfinite(depth).all():
        middle = points[[0, 5, 9, 13, 17], 2].mean()
        order = np.argsort(-depth, kind="stable").tolist()  # MediaPipe's z grows away from the camera
        return [f for f in order if depth[f] > middle], [f for f in order if depth[f] <= middle]
    folded = [
        np.linalg.norm(points[finger[3], :2] - points[0, :2]) < np.linalg.norm(points[finger[1], :2] - points[0, :2])
        for finger in FINGERS
    ]
    if shows_palm:  # folded fingers, and the thumb over them, lie on the palm
        return [], [4, 3, 2, 1, 0]
    return [f for f in (0, 4, 3, 2, 1) if folded[f] or f == 0], [f for f in (4, 3, 2, 1) if not folded[f]]


def _fingers(brush: Brush, flat: np.ndarray, fingers: list[int], palm: float, edge: float, skin: Color) -> None:
    """One after the other, each first a little wider and darker, which leaves a line between neighbors."""
    if not fingers:
        return
    ends, radii, colors = [], [], []
    taper = np.linspace(*FINGER_RADIUS, 4) * palm * brush.look.stoutness
    for finger in fingers:
        chain = flat[list(FINGERS[finger])]
        thick = np.maximum(taper * (1.15 if finger == 0 else 1.0), 0.9)
        for grown, color in ((edge, shaded(skin, 0.6)), (0.0, skin)):
            ends.append(np.stack([chain[:-1], chain[1:]], axis=1))
            radii.append(np.stack([thick[:-1], thick[1:]], axis=1) + grown)
            colors += [color] * 3
    brush.limbs(np.concatenate(ends), np.concatenate(radii), colors)


def _palm(brush: Brush, flat: np.ndarray, palm: float, edge: float, skin: Color) -> None:
    import cv2

    hull = cv2.convexHull(flat[list(PALM)].astype(np.float32))[:, 0].astype(np.float64)
    sides = np.stack([hull, np.roll(hull, -1, axis=0)], axis=1)
    for grown, color in ((edge, shaded(skin, 0.6)), (0.0, skin)):
        radii = np.full((len(hull), 2), 0.12 * palm * brush.look.stoutness + grown)
        brush.limbs(sides, radii, [color] * len(hull))
        brush.polygon(hull, color)
