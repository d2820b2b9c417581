"""Signs joined into a sentence: when each begins and ends, and how the hands get from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from signatlas.synthetic.composition.motion import LEFT, RIGHT, Motion, uses
from signatlas.synthetic.composition.style import Signer

TRANSITION_FRAMES = 2.0  # shortest way between two signs, at the lexicon's pace
FRAMES_PER_PALM = 5.0  # what each palm of distance adds to it
LEAD_FRAMES = 7.0  # up from rest before the first sign, and down after the last
REST_FRAMES = 14.0  # a hand that has this long between two signs goes all the way to rest
JOIN_SMOOTHING = 1.6  # frames


@dataclass(frozen=True)
class Placed:
    """A sign in its sentence: its motion, sampled once a frame, from frame ``first`` on."""

    motion: Motion
    first: int

    @property
    def end(self) -> int:
        return self.first + len(self.motion)


def distance(before: Motion, after: Motion) -> float:
    """Palms between the end of one sign and the beginning of the next, for the hand that has further to go."""
    both = [h for h in (LEFT, RIGHT) if uses(before, h) and uses(after, h)]
    gaps = [float(np.linalg.norm(after.wrists[0, h] - before.wrists[-1, h])) for h in both]
    return max(gaps, default=2.0)


def schedule(
    signs: Sequence[Motion], paces: Sequence[float], signer: Signer, frames: int | None, pace: float
) -> tuple[list[tuple[int, int]], int]:
    """(first, end) of each sign and the number of frames, which is ``frames`` where given.

    Without ``frames`` a sentence takes ``pace`` times what its exemplars and the ways between them take.
    """
    ways = [LEAD_FRAMES]
    for before, after in pairwise(signs):
        ways.append(signer.transition * (TRANSITION_FRAMES + FRAMES_PER_PALM * distance(before, after)))
    ways.append(LEAD_FRAMES)
    lasts = [len(m) * p for m, p in zip(signs, paces, strict=True)]
    natural = sum(ways) + sum(lasts)
    total = frames if frames is not None else max(len(signs) * 3, round(natural * pace * signer.pace))
    scale = total / natural
    spans, place = [], ways[0] * scale
    for length, way in zip(lasts, ways[1:], strict=True):
        spans.append((place, place + length * scale))
        place += (length + way) * scale
    return _whole(spans, total), total


def _whole(spans: list[tuple[float, float]], total: int) -> list[tuple[int, int]]:
    """Frame numbers: at least one frame a sign, none shared, none outside."""
    found, free = [], 0
    for number, (first, end) in enumerate(spans):
        latest = total - (len(spans) - number)
        begin = min(max(round(first), free), latest)
        free = min(max(round(end), begin + 1), latest + 1)
        found.append((begin, free))
    return found


def joined(signs: Sequence[Placed], frames: int, signer: Signer, relaxed: np.ndarray) -> Motion:
    """The whole sentence; both hands are somewhere in every frame. ``relaxed`` [2, 21, 2] are hands at rest."""
    wrists, shapes = np.zeros((frames, 2, 2)), np.zeros((frames, 2, 21, 2))
    for hand in (LEFT, RIGHT):
        parts = [s for s in signs if uses(s.motion, hand)]
        for part in parts:
            wrists[part.first : part.end, hand] = part.motion.wrists[:, hand]
            shapes[part.first : part.end, hand] = part.motion.shapes[:, hand]
        rest = signer.rest[hand]
        ends = [0, *(p.end for p in parts)]
        begins = [*(p.first for p in parts), frames]
        for number, (end, begin) in enumerate(zip(ends, begins, strict=True)):
            if begin <= end:
                continue
            before = parts[number - 1].motion if number > 0 else None
            after = parts[number].motion if number < len(parts) else None
            wrists[end:begin, hand] = _way(before, after, hand, begin - end, rest)
            shapes[end:begin, hand] = _turning(before, after, hand, begin - end, relaxed[hand])
    return Motion(wrists, shapes, np.ones((frames, 2), bool)).smoothed(JOIN_SMOOTHING)


def _smoothstep(t: np.ndarray) -> np.ndarray:
    """Minimum jerk from 0 to 1."""
    return t**3 * (10 - 15 * t + 6 * t**2)


def _down(frames: int, before: Motion | None, after: Motion | None, t: np.ndarray) -> np.ndarray:
    """How far towards rest, 0..1: all the way where there is time, and to stay at the ends of a sentence."""
    deep = min(1.0, max(0.0, (frames - 2) / REST_FRAMES)) ** 2 if before and after else 1.0
    stretch = frames / min(frames, REST_FRAMES)  # going down and coming up take no longer than they need
    leaving = _smoothstep(np.clip(t * stretch * (2 if before and after else 1), 0, 1)) if before else np.ones_like(t)
    coming = _smoothstep(np.clip((1 - t) * stretch * (2 if before and after else 1), 0, 1)) if after else 1.0
    return deep * leaving * coming


def _way(before: Motion | None, after: Motion | None, hand: int, frames: int, rest: np.ndarray) -> np.ndarray:
    """Wrist places [frames, 2] between two signs, or between a sign and rest: smooth in place and velocity."""
    t = (np.arange(frames) + 1) / (frames + 1)
    a = before.wrists[-1, hand] if before else rest
    b = after.wrists[0, hand] if after else rest
    if not before and not after:
        return np.repeat(rest[None], frames, axis=0)
    a, b = (b if not before else a), (a if not after else b)
    leave = _velocity(before, hand, last=True) if before else np.zeros(2)
    come = _velocity(after, hand, last=False) if after else np.zeros(2)
    span = min(frames + 1, 8)
    h00, h10 = 2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t
    h01, h11 = 3 * t**2 - 2 * t**3, t**3 - t**2
    path = (h00[:, None] * a + h01[:, None] * b) + span * (h10[:, None] * leave + h11[:, None] * come)
    down = _down(frames, before, after, t)[:, None]
    return path * (1 - down) + rest * down


def _velocity(motion: Motion, hand: int, *, last: bool) -> np.ndarray:
    """Palms a frame at the end or the beginning of a sign, over up to three frames."""
    edge = motion.wrists[-3:, hand] if last else motion.wrists[:3, hand]
    return (edge[-1] - edge[0]) / max(1, len(edge) - 1)


def _turning(before: Motion | None, after: Motion | None, hand: int, frames: int, relaxed: np.ndarray) -> np.ndarray:
    """Hand points [frames, 21, 2] on the way."""
    t = (np.arange(frames) + 1) / (frames + 1)
    if not before and not after:
        return np.repeat(relaxed[None], frames, axis=0)
    b = after.shapes[0, hand] if after else before.shapes[-1, hand]  # type: ignore[union-attr]
    a = before.shapes[-1, hand] if before else b
    step = _smoothstep(t)[:, None, None]
    down = _down(frames, before, after, t)[:, None, None]
    return (a * (1 - step) + b * step) * (1 - down) + relaxed * down
