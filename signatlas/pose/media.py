"""What a recording is and how its frames are chosen: limits, times, thinning, cropping."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from signatlas.errors import MediaError

SMALLEST_STEP = Fraction(1, 240)  # no recording has more frames a second: a clock that stands still does not lie longer
# A frame's time in seconds since the beginning, and how to get its picture: one that is left out is never converted.
Timed = Iterator[tuple[Fraction, Callable[[], np.ndarray]]]


class UnreachableError(MediaError):
    """A file that cannot be read now, which says nothing of the recording in it: another time it may be."""


class Limits(NamedTuple):
    """What a recording may be at most: pixels a side of the picture, seconds of what is read of it."""

    side: int = 8192
    seconds: float = 4 * 3600.0


class Media(NamedTuple):
    """A recording as it announces itself, upright.

    ``fps`` is None where a folder of pictures does not say, ``frames`` and ``seconds`` where the container does not.
    ``shown_as`` is the size with true proportions: another one than (width, height) when pixels are not square.
    """

    path: str
    fps: float | None
    width: int
    height: int
    frames: int | None
    seconds: float | None
    shown_as: tuple[int, int]


def display_name(path: str | os.PathLike[str]) -> str:
    """A path or URI without user name and password, fit for messages."""
    return re.sub(r"://[^/@]*@", "://", os.fspath(path))


def exactly(number: float) -> Fraction:
    """The decimal number that a float was written as: a frame at 0.1 s begins at 0.1 s."""
    return Fraction(repr(float(number)))


def frames_per_second(fps: float | None, target_fps: float | None) -> float | None:
    """The rate after thinning to ``target_fps``: a slower recording stays as it is."""
    if fps is None or target_fps is None:
        return fps
    return float(min(Fraction(fps), exactly(target_fps)))


def within(timed: Timed, limits: Limits, name: str) -> Timed:
    """Times from the first frame on; refuses what lasts longer than the limit."""
    start = None
    for number, (time, picture) in enumerate(timed):
        start = time if start is None else start
        if max(time - start, number * SMALLEST_STEP) > limits.seconds:
            raise MediaError(f"{name} is longer than {limits.seconds:g} s: cut it, or raise the limit")
        yield time - start, picture


def nearest(timed: Timed, rate: Fraction) -> Timed:
    """Of the frames, those nearest to 0, 1/rate, 2/rate, ... (of two as near, the earlier), each at most once."""
    tick = 0
    held: tuple[Fraction, Callable[[], np.ndarray]] | None = None
    step = Fraction(0)
    for time, picture in timed:
        if held is not None:
            step = time - held[0]
            middle = held[0] + step / 2
            if tick <= middle * rate:
                yield held
                tick = math.floor(middle * rate) + 1
        held = time, picture
    if held is not None and tick <= (held[0] + step / 2) * rate:
        yield held


def crop(image: np.ndarray, box: tuple[int, int, int, int], name: str) -> np.ndarray:
    height, width = image.shape[:2]
    left, right = (min(max(side, 0), width) for side in (box[0], box[2]))
    top, bottom = (min(max(side, 0), height) for side in (box[1], box[3]))
    if left >= right or top >= bottom:
        raise MediaError(
            f"{name}: no pixel of {width}x{height} lies in the box {', '.join(map(str, box))}; mend the box"
        )
    return np.ascontiguousarray(image[top:bottom, left:right])
