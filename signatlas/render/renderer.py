"""Renderer of poses to RGB frames: a person in front of a wall, with motion blur, defocus and grain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from signatlas.errors import PoseError, UserError
from signatlas.pose import skeleton as sk
from signatlas.render import paint
from signatlas.render.appearance import Appearance, appearance_of, generator, shaded
from signatlas.render.body import UpperBody, estimate_aspect, estimate_body
from signatlas.render.crop import Square, around

UNKNOWN_ASPECT = 4 / 3  # of most webcams; used if neither corpus nor body give the aspect
MAX_EXPOSURE_STEP = 3.0  # largest motion of a hand between two blended exposures, in pixels at size 224
GRAIN_MARGIN = 32


@dataclass(frozen=True)
class RenderConfig:
    """Settings of rendering; signers look as given by :class:`signatlas.render.appearance.Appearance`.

    ``size``: pixels per side; ``seed``: of appearances and noise; ``shutter``: exposure time as a share of the time
    between frames (0: no motion blur); ``exposures``: maximum number that is blended; ``defocus``, ``grain`` and
    ``flicker`` (brightness noise per frame): strength of camera effects, 0 is off; ``bridge``: longest gap of a hand
    that is interpolated, in frames.
    """

    size: int = 224
    seed: int = 0
    shutter: float = 0.5
    exposures: int = 4
    defocus: float = 1.0
    grain: float = 1.0
    flicker: float = 0.01
    bridge: int = 5

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 4096:
            raise UserError(f"render size {self.size}: choose 16 to 4096 pixels")
        if not 0 <= self.shutter <= 1 or self.exposures < 1:
            raise UserError(
                f"shutter {self.shutter}, exposures {self.exposures}: choose a shutter of 0 to 1, at least 1 exposure"
            )


class Renderer:
    """Renders clips. Frames depend only on poses, aspect, appearance and configuration, not on the machine."""

    def __init__(self, config: RenderConfig = RenderConfig()):
        self.config = config

    def appearance(self, signer: str) -> Appearance:
        """Return the appearance of a signer for the seed of this renderer."""
        return appearance_of(signer, self.config.seed)

    def render(
        self,
        poses: np.ndarray,
        aspect: float | None = None,
        appearance: Appearance | None = None,
        *,
        face: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return all frames of a clip, uint8 [T, size, size, 3]; see :meth:`iter_render`."""
        frames = np.empty((len(poses), self.config.size, self.config.size, 3), np.uint8)
        for index, frame in enumerate(self.iter_render(poses, aspect, appearance, face=face)):
            frames[index] = frame
        return frames

    def iter_render(
        self,
        poses: np.ndarray,
        aspect: float | None = None,
        appearance: Appearance | None = None,
        *,
        face: np.ndarray | None = None,
    ) -> Iterator[np.ndarray]:
        """Yield frames, uint8 RGB [size, size, 3], one at a time.

        ``poses`` [T, 75, 3] are in image units, NaN if missing; ``aspect`` is width/height of their picture (default:
        estimated from the body, else 4/3); ``face`` [T, 478, 3] is used for eyes and mouth. Missing body parts are
        estimated by :func:`signatlas.render.body.estimate_body`; a clip without points gives the background.

        Raises PoseError for another shape and for infinite coordinates.
        """
        if poses.ndim != 3 or poses.shape[1:] != (sk.NUM_POINTS, 3):
            raise PoseError(f"poses to render have shape {list(poses.shape)}, expected [frames, 75, 3]")
        if np.isinf(poses).any():
            raise PoseError("poses to render have infinite coordinates; use NaN for missing points")
        aspect = aspect or estimate_aspect(poses) or UNKNOWN_ASPECT
        return self._frames(poses, aspect, appearance or self.appearance(""), face)

    def _frames(
        self, poses: np.ndarray, aspect: float, look: Appearance, face: np.ndarray | None
    ) -> Iterator[np.ndarray]:
        if len(poses) == 0:
            return
        body = estimate_body(poses, aspect, bridge=self.config.bridge, face=face)
        square = around(body, aspect)
        camera = Camera(self.config, look, hashlib.sha256(np.ascontiguousarray(poses, "<f4").tobytes()).hexdigest())
        wall = background(look, self.config.size)
        for number in range(len(poses)):
            picture = wall if body is None else self._expose(wall, body, number, square, look)
            yield camera.film(picture)

    def _expose(self, wall: np.ndarray, body: UpperBody, number: int, square: Square, look: Appearance) -> np.ndarray:
        """Return the mean of the exposures of a frame."""
        times = self._exposure_times(body, number, square)
        total = np.full(wall.shape, len(times) // 2, np.uint16)
        for time in times:
            canvas = wall.copy()
            paint.person(canvas, body.at(time), body.unit, square, look)
            total = total + canvas
        return (total // len(times)).astype(np.uint8)

    def _exposure_times(self, body: UpperBody, number: int, square: Square) -> np.ndarray:
        """Return the times of the exposures of a frame, enough to blur the fastest hand without visible copies."""
        if not self.config.shutter or number + 1 == len(body.head):
            return np.array([float(number)])
        moved = np.abs(body.hands[number + 1, ..., :2] - body.hands[number, ..., :2])
        fastest = float(np.nanmax(moved, initial=0.0)) * 224 / square.side * self.config.shutter
        exposures = int(np.clip(np.ceil(fastest / MAX_EXPOSURE_STEP), 1, self.config.exposures))
        return number + np.arange(exposures) * self.config.shutter / exposures


class Camera:
    """Defocus, exposure and grain of frames; grain depends on the clip and the number of the frame."""

    def __init__(self, config: RenderConfig, look: Appearance, clip: str):
        self.config, self.rng = config, generator("camera", config.seed, look.texture, clip)
        self.defocus = config.defocus * look.defocus * config.size / 224
        side = config.size + GRAIN_MARGIN
        noise = generator("grain", config.seed, look.texture).normal(0, config.grain * look.grain, (side, side, 3))
        self.grain = noise.round().astype(np.int16)
        self.gain, self.contrast = look.gain, look.contrast

    def film(self, painted: np.ndarray) -> np.ndarray:
        """Return the filmed frame of a painted picture, uint8 [S, S, 3]."""
        import cv2

        x, y = self.rng.integers(0, GRAIN_MARGIN, 2)
        gain = self.gain * (1 + self.config.flicker * float(self.rng.normal()))
        curve = np.clip(((np.arange(256) - 128) * self.contrast + 128) * gain, 0, 255).astype(np.uint8)
        picture = cv2.GaussianBlur(painted, (0, 0), self.defocus) if self.defocus > 0.15 else painted
        picture = cv2.LUT(picture, curve)
        if not self.config.grain:
            return picture
        size = self.config.size
        return cv2.add(picture, self.grain[y : y + size, x : x + size], dtype=cv2.CV_8U)


def background(look: Appearance, size: int) -> np.ndarray:
    """Return the background, uint8 [size, size, 3]: plain, a gradient, or a textured wall with rectangles."""
    import cv2

    rng = generator("background", look.texture)
    top, bottom = np.array(look.wall, np.float32), np.array(look.floor, np.float32)
    if look.background == "plain":
        return np.broadcast_to(np.array(look.wall, np.uint8), (size, size, 3)).copy()
    if look.background == "gradient":
        slope = rng.uniform(-1, 1, 2)
        y, x = np.mgrid[0:size, 0:size] / size - 0.5
        share = np.clip(0.5 + x * slope[0] + y * (0.5 + abs(slope[1])), 0, 1)[..., None].astype(np.float32)
        return (top * (1 - share) + bottom * share).round().astype(np.uint8)
    coarse = (rng.normal(0, 12, (8, 8, 1)) + rng.normal(0, 5, (8, 8, 3))).astype(np.float32)
    fine = rng.normal(0, 7, (64, 64)).astype(np.float32)
    pattern = np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC))
    pattern = pattern + cv2.resize(fine, (size, size), interpolation=cv2.INTER_LINEAR)[..., None]
    room = np.clip(top + pattern, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        a, b = rng.uniform(0, size, (2, 2)).astype(int)
        cv2.rectangle(room, (int(a[0]), int(a[1])), (int(b[0]), int(b[1])), shaded(look.floor, rng.uniform(0.6, 1.0)),
                      -1)  # fmt: skip
    return room
