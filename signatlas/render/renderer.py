"""Poses to RGB frames: a drawn person before a wall, filmed by a camera that blurs and grains."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from signatlas.errors import PoseError, UserError
from signatlas.pose import skeleton as sk
from signatlas.render import paint
from signatlas.render.appearance import Appearance, appearance_of, generator, shaded
from signatlas.render.body import Figure, figure, likely_aspect
from signatlas.render.crop import Square, around

UNKNOWN_ASPECT = 4 / 3  # of most webcams; where neither the corpus nor the body says it
STEP = 3.0  # pixels at 224 that a hand may move between two exposures that are mixed to a blur
GRAIN_ROOM = 32


@dataclass(frozen=True)
class RenderConfig:
    """How frames are rendered; what a signer looks like is :class:`signatlas.render.appearance.Appearance`.

    ``size`` in pixels a side; ``seed`` of all looks and noise; ``shutter`` is the share of the time between two frames
    in which the camera sees (0: no motion blur), ``exposures`` the most that are mixed; ``defocus``, ``grain`` and
    ``flicker`` (of the brightness, from frame to frame) scale what the camera does to the picture, 0 is off;
    ``bridge`` is how many frames without a hand are bridged.
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
            raise UserError(f"shutter {self.shutter} with {self.exposures} exposures: give 0 to 1, and at least one")


class Renderer:
    """Draws clips. Frames depend on poses, aspect, appearance and configuration alone, on every machine alike."""

    def __init__(self, config: RenderConfig = RenderConfig()):
        self.config = config

    def appearance(self, signer: str) -> Appearance:
        """The look of a signer under this renderer's seed."""
        return appearance_of(signer, self.config.seed)

    def render(
        self,
        poses: np.ndarray,
        aspect: float | None = None,
        appearance: Appearance | None = None,
        *,
        face: np.ndarray | None = None,
    ) -> np.ndarray:
        """All frames of a clip at once: uint8 [T, size, size, 3]. See :meth:`iter_render`."""
        frames = np.empty((len(poses), self.config.size, self.config.size, 3), np.uint8)
        for place, frame in enumerate(self.iter_render(poses, aspect, appearance, face=face)):
            frames[place] = frame
        return frames

    def iter_render(
        self,
        poses: np.ndarray,
        aspect: float | None = None,
        appearance: Appearance | None = None,
        *,
        face: np.ndarray | None = None,
    ) -> Iterator[np.ndarray]:
        """Frames uint8 RGB [size, size, 3] in order, one in memory at a time.

        ``poses`` [T, 75, 3] in image units, NaN where missing; ``aspect`` width/height of their picture (where unknown,
        as the body says, or 4/3); ``face`` [T, 478, 3] draws the real eyes and mouth. What no point says is invented,
        see :func:`signatlas.render.body.figure`; a clip without any point is an empty room.

        Raises PoseError for another shape and for infinite coordinates.
        """
        if poses.ndim != 3 or poses.shape[1:] != (sk.NUM_POINTS, 3):
            raise PoseError(f"poses to render have shape {list(poses.shape)}, expected [frames, 75, 3]")
        if np.isinf(poses).any():
            raise PoseError("poses to render hold infinite coordinates; write missing ones as NaN")
        aspect = aspect or likely_aspect(poses) or UNKNOWN_ASPECT
        return self._frames(poses, aspect, appearance or self.appearance(""), face)

    def _frames(
        self, poses: np.ndarray, aspect: float, look: Appearance, face: np.ndarray | None
    ) -> Iterator[np.ndarray]:
        if len(poses) == 0:
            return
        someone = figure(poses, aspect, bridge=self.config.bridge, face=face)
        square = around(someone, aspect)
        camera = Camera(self.config, look, hashlib.sha256(np.ascontiguousarray(poses, "<f4").tobytes()).hexdigest())
        wall = background(look, self.config.size)
        for number in range(len(poses)):
            painted = wall if someone is None else self._exposed(wall, someone, number, square, look)
            yield camera.film(painted)

    def _exposed(self, wall: np.ndarray, someone: Figure, number: int, square: Square, look: Appearance) -> np.ndarray:
        """The frame as the mean of what is seen while the shutter is open."""
        times = self._times(someone, number, square)
        light = np.full(wall.shape, len(times) // 2, np.uint16)
        for time in times:
            canvas = wall.copy()
            paint.person(canvas, someone.at(time), someone.unit, square, look)
            light = light + canvas
        return (light // len(times)).astype(np.uint8)

    def _times(self, someone: Figure, number: int, square: Square) -> np.ndarray:
        """As many moments of the exposure as the fastest hand needs to become a blur instead of a row of hands."""
        if not self.config.shutter or number + 1 == len(someone.head):
            return np.array([float(number)])
        moved = np.abs(someone.hands[number + 1, ..., :2] - someone.hands[number, ..., :2])
        fastest = float(np.nanmax(moved, initial=0.0)) * 224 / square.side * self.config.shutter
        exposures = int(np.clip(np.ceil(fastest / STEP), 1, self.config.exposures))
        return number + np.arange(exposures) * self.config.shutter / exposures


class Camera:
    """Blur, exposure and grain; the grain of a frame depends on the clip and the frame's number."""

    def __init__(self, config: RenderConfig, look: Appearance, clip: str):
        self.config, self.rng = config, generator("camera", config.seed, look.texture, clip)
        self.defocus = config.defocus * look.defocus * config.size / 224
        side = config.size + GRAIN_ROOM
        noise = generator("grain", config.seed, look.texture).normal(0, config.grain * look.grain, (side, side, 3))
        self.grain = noise.round().astype(np.int16)
        self.gain, self.contrast = look.gain, look.contrast

    def film(self, painted: np.ndarray) -> np.ndarray:
        """A frame uint8 [S, S, 3] from what stands before the camera."""
        import cv2

        x, y = self.rng.integers(0, GRAIN_ROOM, 2)
        gain = self.gain * (1 + self.config.flicker * float(self.rng.normal()))
        curve = np.clip(((np.arange(256) - 128) * self.contrast + 128) * gain, 0, 255).astype(np.uint8)
        picture = cv2.GaussianBlur(painted, (0, 0), self.defocus) if self.defocus > 0.15 else painted
        picture = cv2.LUT(picture, curve)
        if not self.config.grain:
            return picture
        size = self.config.size
        return cv2.add(picture, self.grain[y : y + size, x : x + size], dtype=cv2.CV_8U)


def background(look: Appearance, size: int) -> np.ndarray:
    """The room behind a signer, uint8 [size, size, 3]: plain, a gradient, or a textured wall with something on it."""
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
