"""Augment poses without changing the sign: tempo, camera, body size, noise, dropped frames and hands, mirroring."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from signatlas.pose import skeleton as sk
from signatlas.pose.features import POINT_SETS, hand_positions
from signatlas.pose.prepared_clips import PreparedClips


class AugmentConfig(BaseModel):
    """Strength of each augmentation, a standard deviation unless described otherwise; zero disables it.

    Defaults follow the reverse dictionary (rotation and shear .1, time warp N(1, .2), noise .001).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    time_warp: float = Field(0.2, ge=0, description="of the tempo and of its drift within the clip")
    crop: float = Field(0.1, ge=0, lt=0.5, description="maximum share of the clip cut off at each end")
    rotation: float = Field(0.1, ge=0, description="in the image plane, in radians")
    shear: float = Field(0.1, ge=0)
    scale: float = Field(0.1, ge=0, description="of the log scale of the whole body")
    aspect: float = Field(0.1, ge=0, description="of the log ratio of width to height")
    hand_scale: float = Field(0.0, ge=0, description="of the log scale of the hands alone, as if nearer to the camera")
    shift: float = Field(0.0, ge=0, description="of the position of the hands relative to the face, in torso lengths")
    noise: float = Field(0.001, ge=0, description="per point and frame, in torso lengths")
    jitter: float = Field(0.0, ge=0, description="of the log length of each finger bone, one value per clip")
    frame_dropout: float = Field(0.05, ge=0, lt=1, description="share of frames dropped")
    hand_dropout: float = Field(0.05, ge=0, le=1, description="probability of dropping the hand detected less often")
    depth_dropout: float = Field(0.0, ge=0, le=1, description="probability of dropping z, as in a 2-D recording")
    mirror: float = Field(0.0, ge=0, le=1, description="probability of mirroring, which changes the signing hand")


class Augmenter:
    """Draws an augmented view of each clip of a batch; a view depends only on (seed, epoch, position)."""

    def __init__(self, config: AugmentConfig, points: str, frames: int, seed: int):
        self.config, self.points, self.frames, self.seed = config, points, frames, seed
        point_set = POINT_SETS[points].tolist()
        self.hands = hand_positions(points)
        self.mirror_index = np.array([point_set.index(int(sk.MIRROR[p])) for p in point_set])

    def __call__(
        self, clips: PreparedClips, indices: np.ndarray, epoch: int, positions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw views of the clips ``indices`` [B], which are at ``positions`` [B] of the epoch.

        Returns coordinates float32 [B, F, P, 3], presence bool [B, F, P] and kept frames bool [B, F].
        """
        generators = [self._generator(epoch, int(position)) for position in positions]
        times = np.stack([self._draw_times(g, n) for g, n in zip(generators, clips.lengths[indices], strict=True)])
        coordinates, present = clips.at(indices, times)
        keep = np.ones(times.shape, bool)
        for i, generator in enumerate(generators):
            self._augment(generator, coordinates[i], present[i], keep[i])
        return coordinates, present, keep

    def _generator(self, epoch: int, position: int) -> np.random.Generator:
        # The position is the highest word of the counter, so views would share numbers only after 2^192 blocks.
        return np.random.Generator(np.random.Philox(key=[self.seed, epoch], counter=[0, 0, 0, position]))

    def _draw_times(self, rng: np.random.Generator, length: int) -> np.ndarray:
        """Draw frame positions [F], increasing, with cropped ends and a drifting tempo."""
        c = self.config
        first, last = rng.uniform(0, c.crop), 1 - rng.uniform(0, c.crop)
        knots = np.exp(rng.normal(0, c.time_warp, 5))
        speed = np.interp(np.linspace(0, 4, self.frames - 1), np.arange(5), knots)
        path = np.concatenate([[0.0], np.cumsum(speed)]) / speed.sum()
        return (first + path * (last - first)) * (length - 1)

    def _augment(self, rng: np.random.Generator, x: np.ndarray, present: np.ndarray, keep: np.ndarray) -> None:
        """Augment one view in place: x [F, P, 3], present [F, P], keep [F]."""
        c = self.config
        detected = present.any(0)
        self._augment_hands(rng, x)
        x[..., :2] = x[..., :2] @ self._draw_camera(rng).T
        x[..., 2] *= np.exp(rng.normal(0, c.scale))
        x += rng.normal(0, c.noise, x.shape).astype(np.float32) if c.noise else 0.0
        x[:, ~detected] = 0.0
        if rng.random() < c.depth_dropout:
            x[..., 2] = 0.0
        if rng.random() < c.hand_dropout:
            hand = min(self.hands, key=lambda s: present[:, s].mean())
            x[:, hand], present[:, hand] = 0.0, False
        if rng.random() < c.mirror:
            x[:] = x[:, self.mirror_index] * np.array([-1, 1, 1], np.float32)
            present[:] = present[:, self.mirror_index]
        if c.frame_dropout:
            dropped = rng.random(len(keep)) < c.frame_dropout
            keep[dropped] = False
            keep[rng.integers(len(keep))] = True  # at least one frame

    def _draw_camera(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a 2 x 2 matrix of rotation, shear, scale and aspect."""
        c = self.config
        angle, shear = rng.normal(0, c.rotation), rng.normal(0, c.shear, 2)
        size, aspect = np.exp(rng.normal(0, c.scale)), np.exp(rng.normal(0, c.aspect) / 2)
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        sheared = np.array([[1.0, shear[0]], [shear[1], 1.0]])
        return (rotation @ sheared @ np.diag([size * aspect, size / aspect])).astype(np.float32)

    def _augment_hands(self, rng: np.random.Generator, x: np.ndarray) -> None:
        """Scale and shift the hands and change the lengths of finger bones, in place: x [F, P, 3]."""
        c = self.config
        if not (c.hand_scale or c.shift or c.jitter):
            return
        scale, shift = np.exp(rng.normal(0, c.hand_scale)), rng.normal(0, c.shift, 2)
        jitter = np.exp(rng.normal(0, c.jitter, (21, 1)))
        parents = np.array(sk.HAND_PARENTS)
        for hand in self.hands:
            points = x[:, hand].copy()
            bones = (points[:, 1:] - points[:, parents[1:]]) * (scale * jitter[1:])
            for joint in range(1, 21):
                x[:, hand.start + joint] = x[:, hand.start + parents[joint]] + bones[:, joint - 1]
            x[:, hand, :2] += shift
