"""Frames as a moving picture: MP4 through PyAV, frame by frame; GIF through Pillow, which keeps a byte a pixel."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from signatlas.errors import MediaError

if TYPE_CHECKING:
    from av.video.stream import VideoStream
    from PIL.Image import Image

FORMATS = ("gif", "mp4")
GIF_FASTEST = 50.0  # viewers slow down a GIF whose frames last less than 2/100 s


def write_movie(path: str | os.PathLike[str], frames: Iterable[np.ndarray], fps: float) -> int:
    """Write uint8 RGB frames [H, W, 3] of one size as `.gif` or `.mp4`, whole or not at all; returns their number.

    A GIF counts hundredths of a second: durations are rounded so that the whole stays in time, and above 50 frames/s
    frames are left out. Raises MediaError for another ending, no frames, or a rate that is none.
    """
    target = Path(path)
    writers: dict[str, Callable[[Path, Iterator[np.ndarray], float], int]] = {".gif": _gif, ".mp4": _mp4}
    if target.suffix.lower() not in writers:
        raise MediaError(f"{target}: a moving picture ends in .gif or .mp4")
    if not (np.isfinite(fps) and fps > 0):
        raise MediaError(f"{target}: {fps} frames per second cannot be shown")
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=target.suffix.lower())
    os.close(handle)
    partial = Path(name)
    try:
        number = writers[target.suffix.lower()](partial, iter(frames), fps)
        if number == 0:
            raise MediaError(f"{target}: no frames to write")
        partial.chmod(0o644)
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return number


def _gif(path: Path, frames: Iterator[np.ndarray], fps: float) -> int:
    from PIL.Image import Dither

    step = int(np.ceil(fps / GIF_FASTEST))
    kept = (frame for place, frame in enumerate(frames) if place % step == 0)
    first = next(kept, None)
    if first is None:
        return 0
    palette, counted = _palette(first), 0

    def pictures() -> Iterator[Image]:
        nonlocal counted
        for frame in chain([first], kept):
            counted += 1
            yield _picture(frame).quantize(palette=palette, dither=Dither.NONE)

    stream = pictures()
    # Pillow wants the durations of all frames beforehand, and their number is known only at the end.
    next(stream).save(path, save_all=True, append_images=stream, loop=0, duration=_Durations(fps / step), disposal=1)
    return counted


class _Durations(list[int]):
    """Milliseconds of any frame by its number: whole hundredths of a second, rounded so that no error adds up."""

    def __init__(self, fps: float):
        super().__init__()
        self.fps = fps

    def __getitem__(self, place: int) -> int:  # type: ignore[override]
        return 10 * (round(100 * (place + 1) / self.fps) - round(100 * place / self.fps))


def _picture(frame: np.ndarray) -> Image:
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(frame))


def _palette(frame: np.ndarray) -> Image:
    """256 colors that suit the first frame, among them the colors in which skeletons are drawn."""
    from signatlas.plots.animation import SWATCHES

    block = max(64, frame.shape[1] // (4 * len(SWATCHES)))
    swatch = np.repeat(np.array(SWATCHES, np.uint8), block, axis=0)[None].repeat(max(8, frame.shape[0] // 12), axis=0)
    width = max(frame.shape[1], swatch.shape[1])
    sheet = np.full((len(frame) + len(swatch), width, 3), 255, np.uint8)
    sheet[: len(frame), : frame.shape[1]] = frame
    sheet[len(frame) :, : swatch.shape[1]] = swatch
    return _picture(sheet).quantize(256)


def _mp4(path: Path, frames: Iterator[np.ndarray], fps: float) -> int:
    import av

    first = next(frames, None)
    if first is None:
        return 0
    height, width = (side + side % 2 for side in first.shape[:2])  # 4:2:0 halves the color planes
    number = 0
    with av.open(str(path), "w", format="mp4") as container:
        stream = cast("VideoStream", container.add_stream(_encoder(), rate=Fraction(fps).limit_denominator(1001)))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "18", "preset": "veryfast", "qscale": "3"}
        for frame in chain([first], frames):
            grown = np.pad(frame, ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0)), mode="edge")
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(grown), format="rgb24")):
                container.mux(packet)
            number += 1
        for packet in stream.encode(None):
            container.mux(packet)
    return number


def _encoder() -> str:
    """H.264 where this PyAV has it (its wheels do), else MPEG-4 part 2."""
    import av

    try:
        av.codec.Codec("libx264", "w")
    except ValueError:  # UnknownCodecError
        return "mpeg4"
    return "libx264"
