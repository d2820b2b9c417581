"""Recordings cut to the sign itself: without rest, without hands that only hang, with shorter holds."""

from __future__ import annotations

import numpy as np

from signatlas.synthetic.composition.motion import LEFT, MIDDLE_KNUCKLE, RIGHT, Motion

RISEN = 0.35  # a sign has begun when this share of the way up is left
REACHING = 1.6  # palms
SHORTEST = 6  # frames a trimmed sign keeps
EVENNESS = 0.9  # 0 keeps a sign's own timing, 1 gives it one speed throughout
IDLE_MOVEMENT, IDLE_BELOW = 0.5, 1.5  # palms


def left_handed(motion: Motion) -> bool:
    """Whether the left hand alone signs, or does clearly more than the right."""
    shares = motion.seen.mean(0)
    if shares[RIGHT] == 0 or shares[LEFT] == 0:
        return bool(shares[LEFT] > shares[RIGHT])
    path = [np.linalg.norm(np.diff(motion.wrists[motion.seen[:, h], h], axis=0), axis=-1).sum() for h in (LEFT, RIGHT)]
    height = [-motion.wrists[motion.seen[:, h], h, 1].mean() for h in (LEFT, RIGHT)]
    return bool(path[LEFT] > 1.5 * path[RIGHT] and height[LEFT] > height[RIGHT] + 1.0)


def trim(motion: Motion) -> Motion:
    """Without the way up from rest and back: from and to where the higher hand is most of the way up.

    A hand at either end that looks far larger than usual reaches for the camera or a button, and is cut off first.
    """
    motion = _before_reaching(motion)
    height = np.where(motion.seen, -motion.wrists[..., 1], -np.inf).max(1)
    known = np.flatnonzero(np.isfinite(height))
    height = np.interp(np.arange(len(height)), known, height[known])
    top = np.percentile(height, 80)
    first, last = 0, len(height) - 1
    for end, step in ((0, 1), (len(height) - 1, -1)):
        low = height[end]
        if top - low < 1.0:  # no rest position here
            continue
        risen = np.flatnonzero(height >= top - RISEN * (top - low))
        if step > 0:
            first = int(risen[0])
        else:
            last = int(risen[-1])
    if last - first + 1 < SHORTEST:
        return motion
    return motion.cut(first, last + 1)


def _before_reaching(motion: Motion) -> Motion:
    palms = np.where(motion.seen, np.linalg.norm(motion.shapes[:, :, MIDDLE_KNUCKLE], axis=-1), 0).max(1)
    usual = np.flatnonzero((palms > 0) & (palms < REACHING))
    if len(usual) < SHORTEST:
        return motion
    return motion.cut(int(usual[0]), int(usual[-1]) + 1)


def without_idle(motion: Motion) -> Motion:
    """The other hand is not part of a sign while it only hangs in view: still, and well below the one that signs."""
    if not (motion.has(LEFT) and motion.has(RIGHT)):
        return motion
    left, right = (motion.wrists[motion.seen[:, h], h] for h in (LEFT, RIGHT))
    moved = np.linalg.norm(left - left.mean(0), axis=-1).mean()
    lower = np.median(left[:, 1]) - np.median(right[:, 1])
    if moved > IDLE_MOVEMENT or lower < IDLE_BELOW:
        return motion
    return Motion(motion.wrists, motion.shapes, motion.seen & np.array([False, True]))


def evened(motion: Motion) -> Motion:
    """With shorter holds: shown alone a sign is held at both ends and between its movements, in a sentence hardly."""
    wrists = np.linalg.norm(np.diff(motion.wrists, axis=0), axis=-1)
    shapes = np.linalg.norm(np.diff(motion.shapes, axis=0), axis=-1).mean(-1)
    speed = ((wrists + shapes) * motion.seen[1:]).max(1)
    time = (speed / max(speed.mean(), 1e-6) + 0.1) ** EVENNESS
    passed = np.concatenate([[0], np.cumsum(time)])
    even = motion.at(np.interp(np.linspace(0, passed[-1], len(motion)), passed, np.arange(len(motion))))
    return Motion(even.wrists.astype(np.float32), even.shapes.astype(np.float32), even.seen)
