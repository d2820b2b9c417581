"""Trimming of recordings to the sign: no rest at the ends, no idle hand, shorter holds."""

from __future__ import annotations

import numpy as np

from signatlas.synthetic.composition.motion import LEFT, MIDDLE_KNUCKLE, RIGHT, Motion

RISEN = 0.35  # a sign starts when this share of the rise from rest is left
REACHING = 1.6  # palm lengths; a larger hand reaches for the camera
SHORTEST = 6  # minimum length of a trimmed sign, in frames
EVENNESS = 0.9  # 0 keeps the timing of a sign, 1 makes its speed constant
IDLE_MOVEMENT, IDLE_BELOW = 0.5, 1.5  # palms


def is_left_handed(motion: Motion) -> bool:
    """Return whether the left hand is the only or clearly the dominant one."""
    shares = motion.seen.mean(0)
    if shares[RIGHT] == 0 or shares[LEFT] == 0:
        return bool(shares[LEFT] > shares[RIGHT])
    path = [np.linalg.norm(np.diff(motion.wrists[motion.seen[:, h], h], axis=0), axis=-1).sum() for h in (LEFT, RIGHT)]
    height = [-motion.wrists[motion.seen[:, h], h, 1].mean() for h in (LEFT, RIGHT)]
    return bool(path[LEFT] > 1.5 * path[RIGHT] and height[LEFT] > height[RIGHT] + 1.0)


def trim(motion: Motion) -> Motion:
    """Cut off the rise from rest and the return, by the height of the higher hand.

    Frames at either end with a hand much larger than usual, reaching for the camera or a button, are cut off first.
    """
    motion = _cut_reaching(motion)
    height = np.where(motion.seen, -motion.wrists[..., 1], -np.inf).max(1)
    known = np.flatnonzero(np.isfinite(height))
    height = np.interp(np.arange(len(height)), known, height[known])
    top = np.percentile(height, 80)
    first, last = 0, len(height) - 1
    for end, step in ((0, 1), (len(height) - 1, -1)):
        low = height[end]
        if top - low < 1.0:  # not at rest
            continue
        raised = np.flatnonzero(height >= top - RISEN * (top - low))
        if step > 0:
            first = int(raised[0])
        else:
            last = int(raised[-1])
    if last - first + 1 < SHORTEST:
        return motion
    return motion.cut(first, last + 1)


def _cut_reaching(motion: Motion) -> Motion:
    palms = np.where(motion.seen, np.linalg.norm(motion.shapes[:, :, MIDDLE_KNUCKLE], axis=-1), 0).max(1)
    usual = np.flatnonzero((palms > 0) & (palms < REACHING))
    if len(usual) < SHORTEST:
        return motion
    return motion.cut(int(usual[0]), int(usual[-1]) + 1)


def remove_idle_hand(motion: Motion) -> Motion:
    """Mark the left hand as not seen if it is idle: still, and well below the right one."""
    if not (motion.has(LEFT) and motion.has(RIGHT)):
        return motion
    left, right = (motion.wrists[motion.seen[:, h], h] for h in (LEFT, RIGHT))
    movement = np.linalg.norm(left - left.mean(0), axis=-1).mean()
    depth = np.median(left[:, 1]) - np.median(right[:, 1])
    if movement > IDLE_MOVEMENT or depth < IDLE_BELOW:
        return motion
    return Motion(motion.wrists, motion.shapes, motion.seen & np.array([False, True]))


def shorten_holds(motion: Motion) -> Motion:
    """Shorten holds: isolated signs are held at both ends and between movements, signs in a sentence hardly."""
    wrists = np.linalg.norm(np.diff(motion.wrists, axis=0), axis=-1)
    shapes = np.linalg.norm(np.diff(motion.shapes, axis=0), axis=-1).mean(-1)
    speed = ((wrists + shapes) * motion.seen[1:]).max(1)
    time = (speed / max(speed.mean(), 1e-6) + 0.1) ** EVENNESS
    elapsed = np.concatenate([[0], np.cumsum(time)])
    even = motion.at(np.interp(np.linspace(0, elapsed[-1], len(motion)), elapsed, np.arange(len(motion))))
    return Motion(even.wrists.astype(np.float32), even.shapes.astype(np.float32), even.seen)
