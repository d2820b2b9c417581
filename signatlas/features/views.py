"""Training views of isolated signs that look like windows over continuous signing."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from signatlas.features.windows import take
from signatlas.pose.augment import AugmentConfig, Augmenter
from signatlas.pose.prepared_clips import PreparedClips


class ViewConfig(BaseModel):
    """Sampling of training windows. Signs in sentences are shorter than recordings of isolated signs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shortest: float = Field(0.3, gt=0, le=1, description="smallest share of a recording that a window covers")
    longest: float = Field(1.0, gt=0, le=1, description="largest share")
    context: float = Field(0.5, ge=0, le=1, description="probability of neighboring signs before and after")
    sign: float = Field(0.4, gt=0, le=1, description="smallest share of the window that the sign takes, with context")
    transition: int = Field(3, ge=0, description="longest transition between two signs, in frames of the window")

    @model_validator(mode="after")
    def _ordered(self) -> ViewConfig:
        if self.shortest > self.longest:
            raise ValueError(f"shortest {self.shortest} is greater than longest {self.longest}")
        return self


class WindowViews(Augmenter):
    """Random windows of clips: a random part at random speed, optionally between parts of other clips, then augmented.

    A view depends only on (seed, epoch, position).
    """

    def __init__(
        self, views: ViewConfig, config: AugmentConfig, points: str, frames: int, seed: int, others: np.ndarray
    ):
        super().__init__(config, points, frames, seed)
        self.views, self.others = views, others  # indices of clips that may be neighbors of a sign

    def __call__(
        self, bank: PreparedClips, indices: np.ndarray, epoch: int, positions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        generators = [self._generator(epoch, int(position)) for position in positions]
        rows = [self._window(rng, bank, int(i)) for rng, i in zip(generators, indices, strict=True)]
        coordinates = np.stack([x for x, _ in rows])
        present = np.stack([p for _, p in rows])
        keep = np.ones(present.shape[:2], bool)
        for i, generator in enumerate(generators):
            self._augment(generator, coordinates[i], present[i], keep[i])
        return coordinates, present, keep

    def still(self, bank: PreparedClips, index: int, draw: int) -> tuple[np.ndarray, np.ndarray]:
        """Return window number ``draw`` [F, P, 3] of one clip and its presence [F, P], not augmented, for dev."""
        return self._window(np.random.default_rng([self.seed, index, draw]), bank, index)

    def _window(self, rng: np.random.Generator, bank: PreparedClips, index: int) -> tuple[np.ndarray, np.ndarray]:
        before, sign, after, gaps = self._plan(rng)
        share = rng.uniform(self.views.shortest, self.views.longest)
        first = rng.uniform(0, 1 - share)
        main = self._part(rng, bank, index, first, first + share, sign)
        if not before and not after:
            return main
        neighbors = rng.choice(self.others, 2)
        left, right = (
            rng.uniform(0.4, 0.9),
            rng.uniform(0.1, 0.6),
        )  # end of the previous sign, start of the next
        parts = [
            self._part(rng, bank, int(neighbors[0]), left - 0.02 * before, left, before),
            main,
            self._part(rng, bank, int(neighbors[1]), right, right + 0.02 * after, after),
        ]
        return _join(parts, gaps)

    def _plan(self, rng: np.random.Generator) -> tuple[int, int, int, tuple[int, int]]:
        """Return the frames before, of and after the sign and of both transitions; they sum to the window."""
        v, total = self.views, self.frames
        if rng.random() >= v.context:
            return 0, total, 0, (0, 0)
        sign = int(rng.integers(max(2, round(v.sign * total)), total + 1))
        # The sign covers the middle of the window, since the label is that of the sign in the middle.
        low, high = max(0, total // 2 - sign + 1), min(total - sign, total // 2)
        begin = int(rng.integers(low, high + 1))
        end = total - begin - sign
        gaps = tuple(min(int(rng.integers(0, v.transition + 1)), max(0, room - 1)) for room in (begin, end))
        return begin - gaps[0], sign, end - gaps[1], (gaps[0], gaps[1])

    def _part(
        self, rng: np.random.Generator, bank: PreparedClips, index: int, first: float, last: float, frames: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ``frames`` frames between two fractions of a clip, at a drifting speed."""
        if not frames:
            return bank.coordinates[:0], bank.present[:0]
        speed = np.exp(rng.normal(0, self.config.time_warp, frames - 1))
        path = np.concatenate([[0.0], np.cumsum(speed)])[:frames]
        times = (first + path / max(path[-1], 1e-9) * (last - first)) * (int(bank.lengths[index]) - 1)
        coordinates, present = bank.at(np.array([index]), times[None])
        return coordinates[0], present[0]


def _join(parts: list[tuple[np.ndarray, np.ndarray]], gaps: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return three parts joined by linear transitions of ``gaps`` frames."""
    (x0, p0), (x1, p1), (x2, p2) = parts
    into = _interpolate(x0[-1] if len(x0) else x1[0], x1[0], gaps[0])
    out = _interpolate(x1[-1], x2[0] if len(x2) else x1[-1], gaps[1])
    present_in, present_out = np.repeat(p1[:1], gaps[0], 0), np.repeat(p1[-1:], gaps[1], 0)
    return np.concatenate([x0, into, x1, out, x2]), np.concatenate([p0, present_in, p1, present_out, p2])


def _interpolate(start: np.ndarray, end: np.ndarray, frames: int) -> np.ndarray:
    share = ((np.arange(frames) + 1) / (frames + 1)).astype(np.float32)[:, None, None]
    return start * (1 - share) + end * share


class SegmentViews(Augmenter):
    """Random windows inside segments of clips, at original speed, then augmented.

    A view depends only on (seed, epoch, position).
    """

    def of(
        self, bank: PreparedClips, segments: np.ndarray, epoch: int, positions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return coordinates float32 [B, F, P, 3] and presence bool [B, F, P].

        ``segments`` int [B, 3] are clip, start and end.
        """
        generators = [self._generator(epoch, int(position)) for position in positions]
        room = np.maximum(0, segments[:, 2] - segments[:, 1] - self.frames)
        first = segments[:, 1] + [int(rng.integers(0, r + 1)) for rng, r in zip(generators, room, strict=True)]
        coordinates, present = take(bank, segments[:, 0], first, self.frames, self.frames)
        keep = np.ones(present.shape[:2], bool)
        for i, generator in enumerate(generators):
            self._augment(generator, coordinates[i], present[i], keep[i])
        return coordinates, present
