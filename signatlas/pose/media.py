"""Size and length of recordings, their limits, and the choice of frames: resampling in time, cropping."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from signatlas.errors import MediaError

MIN_FRAME_TIME = Fraction(1, 240)  # seconds; bounds the length of recordings whose timestamps do not advance
# Time of each frame in seconds from the start, and a function that decodes it: skipped frames are not converted.
TimedFrames = Iterator[tuple[Fraction, Callable[[], np.ndarray]]]


class UnreachableError(MediaError):
    """A file that cannot be read at present, for example because the network fails; a later attempt may succeed."""


class TooLargeError(MediaError):
    """A recording beyond a limit. ``excess`` says which one, without what to do."""

    def __init__(self, excess: str, remedy: str):
        super().__init__(f"{excess}: {remedy}")
        self.excess, self.remedy = excess, remedy

    def __reduce__(self) -> tuple[type[TooLargeError], tuple[str, str]]:
        return type(self), (self.excess, self.remedy)


CUT = "cut it, or raise the limit (--max-seconds)"


class Limits(NamedTuple):
    """Upper limits for a recording: pixels per side, seconds and frames read from it, and pixels of a frame."""

    side: int = 8192
    seconds: float = 4 * 3600.0
    frames: int | None = None
    pixels: int | None = None

    @property
    def frame_pixels(self) -> int:
        """The most pixels of a frame, by both limits."""
        return self.side**2 if self.pixels is None else min(self.pixels, self.side**2)


class Media(NamedTuple):
    """Metadata of a recording, after rotation.

    ``fps`` is None if unknown for a folder of images, ``frames`` and ``seconds`` if the container does not give them.
    ``shown_as`` is the (width, height) with the true proportions, different from the stored size if pixels are not
    square.
    """

    path: str
    fps: float | None
    width: int
    height: int
    frames: int | None
    seconds: float | None
    shown_as: tuple[int, int]


def display_name(path: str | os.PathLike[str]) -> str:
    """Return a path or URI without user name and password, for messages."""
    return re.sub(r"://[^/@]*@", "://", os.fspath(path))


def exactly(number: float) -> Fraction:
    """Return a float as the fraction of its shortest decimal form: ``exactly(0.1)`` is 1/10."""
    return Fraction(repr(float(number)))


def frames_per_second(fps: float | None, target_fps: float | None) -> float | None:
    """Return the frame rate after resampling to ``target_fps``; slower recordings keep theirs."""
    if fps is None or target_fps is None:
        return fps
    return float(min(Fraction(fps), exactly(target_fps)))


def limit_length(timed: TimedFrames, limits: Limits, name: str) -> TimedFrames:
    """Yield frames with times relative to the first one. Raises TooLargeError beyond the seconds or frames."""
    start = None
    for number, (time, decode) in enumerate(timed):
        start = time if start is None else start
        if max(time - start, number * MIN_FRAME_TIME) > limits.seconds:
            raise TooLargeError(f"{name} is longer than {limits.seconds:g} s", CUT)
        if limits.frames is not None and number >= limits.frames:
            raise TooLargeError(f"{name} has more than {limits.frames:,} frames", "cut it")
        yield time - start, decode


def nearest(timed: TimedFrames, rate: Fraction) -> TimedFrames:
    """Yield the frames nearest to 0, 1/rate, 2/rate, ... (the earlier of two equally near), each at most once."""
    tick = 0
    previous: tuple[Fraction, Callable[[], np.ndarray]] | None = None
    step = Fraction(0)
    for time, decode in timed:
        if previous is not None:
            step = time - previous[0]
            middle = previous[0] + step / 2
            if tick <= middle * rate:
                yield previous
                tick = math.floor(middle * rate) + 1
        previous = time, decode
    if previous is not None and tick <= (previous[0] + step / 2) * rate:
        yield previous


def crop(image: np.ndarray, box: tuple[int, int, int, int], name: str) -> np.ndarray:
    """Return the part of an image inside ``box``. Raises MediaError if they do not overlap."""
    height, width = image.shape[:2]
    left, right = (min(max(side, 0), width) for side in (box[0], box[2]))
    top, bottom = (min(max(side, 0), height) for side in (box[1], box[3]))
    if left >= right or top >= bottom:
        raise MediaError(
            f"{name}: the box {', '.join(map(str, box))} lies outside the {width}x{height} image: fix the box"
        )
    return np.ascontiguousarray(image[top:bottom, left:right])
