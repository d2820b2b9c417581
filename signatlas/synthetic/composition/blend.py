"""Timing of the signs of a sentence, and transitions of the hands between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from signatlas.synthetic.composition.motion import LEFT, RIGHT, Motion, hand_is_used
from signatlas.synthetic.composition.style import Signer

TRANSITION_FRAMES = 2.0  # shortest transition between two signs, at the lexicon's pace
FRAMES_PER_PALM = 5.0  # added to a transition per palm of distance
LEAD_FRAMES = 7.0  # from rest to the first sign, and from the last sign to rest
REST_FRAMES = 14.0  # a hand unused for this long between two signs returns to rest
JOIN_SMOOTHING = 1.6  # frames


@dataclass(frozen=True)
class PlacedSign:
    """A sign in a sentence: its motion, one sample per frame, starting at frame ``first``."""

    motion: Motion
    first: int

    @property
    def end(self) -> int:
        return self.first + len(self.motion)


def distance(before: Motion, after: Motion) -> float:
    """Return the distance, in palms, from the end of one sign to the start of the next, of the hand that moves more."""
    both = [h for h in (LEFT, RIGHT) if hand_is_used(before, h) and hand_is_used(after, h)]
    gaps = [float(np.linalg.norm(after.wrists[0, h] - before.wrists[-1, h])) for h in both]
    return max(gaps, default=2.0)


def schedule(
    signs: Sequence[Motion], paces: Sequence[float], signer: Signer, frames: int | None, pace: float
) -> tuple[list[tuple[int, int]], int]:
    """Return (first, end) of each sign, and the number of frames of the sentence.

    The number of frames is ``frames``; if None, it is ``pace`` times the length of the exemplars and transitions.
    """
    transitions = [LEAD_FRAMES]
    for before, after in pairwise(signs):
        transitions.append(signer.transition * (TRANSITION_FRAMES + FRAMES_PER_PALM * distance(before, after)))
    transitions.append(LEAD_FRAMES)
    lengths = [len(m) * p for m, p in zip(signs, paces, strict=True)]
    natural = sum(transitions) + sum(lengths)
    total = frames if frames is not None else max(len(signs) * 3, round(natural * pace * signer.pace))
    scale = total / natural
    spans, position = [], transitions[0] * scale
    for length, transition in zip(lengths, transitions[1:], strict=True):
        spans.append((position, position + length * scale))
        position += (length + transition) * scale
    return _round_spans(spans, total), total


def _round_spans(spans: list[tuple[float, float]], total: int) -> list[tuple[int, int]]:
    """Round spans to frame numbers: at least one frame per sign, no overlap, none outside 0..``total``."""
    rounded, next_free = [], 0
    for number, (first, end) in enumerate(spans):
        latest = total - (len(spans) - number)
        start = min(max(round(first), next_free), latest)
        next_free = min(max(round(end), start + 1), latest + 1)
        rounded.append((start, next_free))
    return rounded


def join_signs(signs: Sequence[PlacedSign], frames: int, signer: Signer, relaxed: np.ndarray) -> Motion:
    """Return the motion of a sentence, with both hands in every frame. ``relaxed`` [2, 21, 2]: hands at rest."""
    wrists, shapes = np.zeros((frames, 2, 2)), np.zeros((frames, 2, 21, 2))
    for hand in (LEFT, RIGHT):
        parts = [s for s in signs if hand_is_used(s.motion, hand)]
        for part in parts:
            wrists[part.first : part.end, hand] = part.motion.wrists[:, hand]
            shapes[part.first : part.end, hand] = part.motion.shapes[:, hand]
        rest = signer.rest[hand]
        ends = [0, *(p.end for p in parts)]
        starts = [*(p.first for p in parts), frames]
        for number, (end, start) in enumerate(zip(ends, starts, strict=True)):
            if start <= end:
                continue
            before = parts[number - 1].motion if number > 0 else None
            after = parts[number].motion if number < len(parts) else None
            wrists[end:start, hand] = _wrist_path(before, after, hand, start - end, rest)
            shapes[end:start, hand] = _shape_path(before, after, hand, start - end, relaxed[hand])
    return Motion(wrists, shapes, np.ones((frames, 2), bool)).smoothed(JOIN_SMOOTHING)


def _smoothstep(t: np.ndarray) -> np.ndarray:
    """Return the minimum-jerk curve from 0 to 1."""
    return t**3 * (10 - 15 * t + 6 * t**2)


def _rest_weight(frames: int, before: Motion | None, after: Motion | None, t: np.ndarray) -> np.ndarray:
    """Return the weight of the rest position, 0..1; 1 if the transition is long enough or ends a sentence."""
    depth = min(1.0, max(0.0, (frames - 2) / REST_FRAMES)) ** 2 if before and after else 1.0
    stretch = frames / min(frames, REST_FRAMES)  # limits the time of lowering and raising the hand
    lowering = _smoothstep(np.clip(t * stretch * (2 if before and after else 1), 0, 1)) if before else np.ones_like(t)
    raising = _smoothstep(np.clip((1 - t) * stretch * (2 if before and after else 1), 0, 1)) if after else 1.0
    return depth * lowering * raising


def _wrist_path(before: Motion | None, after: Motion | None, hand: int, frames: int, rest: np.ndarray) -> np.ndarray:
    """Return wrist positions [frames, 2] between two signs, or a sign and rest; a cubic Hermite curve."""
    t = (np.arange(frames) + 1) / (frames + 1)
    start = before.wrists[-1, hand] if before else rest
    end = after.wrists[0, hand] if after else rest
    if not before and not after:
        return np.repeat(rest[None], frames, axis=0)
    start, end = (end if not before else start), (start if not after else end)
    start_velocity = _velocity(before, hand, last=True) if before else np.zeros(2)
    end_velocity = _velocity(after, hand, last=False) if after else np.zeros(2)
    velocity_span = min(frames + 1, 8)
    h00, h10 = 2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t
    h01, h11 = 3 * t**2 - 2 * t**3, t**3 - t**2
    path = (h00[:, None] * start + h01[:, None] * end) + velocity_span * (
        h10[:, None] * start_velocity + h11[:, None] * end_velocity
    )
    rest_weight = _rest_weight(frames, before, after, t)[:, None]
    return path * (1 - rest_weight) + rest * rest_weight


def _velocity(motion: Motion, hand: int, *, last: bool) -> np.ndarray:
    """Return the velocity, in palms per frame, over the last or first (up to) three frames of a sign."""
    edge = motion.wrists[-3:, hand] if last else motion.wrists[:3, hand]
    return (edge[-1] - edge[0]) / max(1, len(edge) - 1)


def _shape_path(before: Motion | None, after: Motion | None, hand: int, frames: int, relaxed: np.ndarray) -> np.ndarray:
    """Return hand points [frames, 21, 2] during a transition."""
    t = (np.arange(frames) + 1) / (frames + 1)
    if not before and not after:
        return np.repeat(relaxed[None], frames, axis=0)
    end = after.shapes[0, hand] if after else before.shapes[-1, hand]  # type: ignore[union-attr]
    start = before.shapes[-1, hand] if before else end
    step = _smoothstep(t)[:, None, None]
    rest_weight = _rest_weight(frames, before, after, t)[:, None, None]
    return (start * (1 - step) + end * step) * (1 - rest_weight) + relaxed * rest_weight
