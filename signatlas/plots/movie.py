"""Writing of frames as MP4 (PyAV, streaming) or GIF (Pillow, all frames in memory)."""

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
GIF_FASTEST = 50.0  # fps; viewers slow down GIFs with frames shorter than 2/100 s


def write_movie(path: str | os.PathLike[str], frames: Iterable[np.ndarray], fps: float) -> int:
    """Write uint8 RGB frames [H, W, 3] of equal size as `.gif` or `.mp4`, atomically; return their number.

    Durations in a GIF are in 1/100 s, rounded without accumulating errors; above 50 fps frames are dropped. Raises
    MediaError for another suffix, no frames, or an invalid frame rate.
    """
    target = Path(path)
    writers: dict[str, Callable[[Path, Iterator[np.ndarray], float], int]] = {".gif": _gif, ".mp4": _mp4}
    if target.suffix.lower() not in writers:
        raise MediaError(f"{target}: unknown format; choose a file name that ends in .gif or .mp4")
    if not (np.isfinite(fps) and fps > 0):
        raise MediaError(f"{target}: {fps} is not a valid frame rate")
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
    kept = (frame for index, frame in enumerate(frames) if index % step == 0)
    first = next(kept, None)
    if first is None:
        return 0
    palette, count = _palette(first), 0

    def pictures() -> Iterator[Image]:
        nonlocal count
        for frame in chain([first], kept):
            count += 1
            yield _picture(frame).quantize(palette=palette, dither=Dither.NONE)

    stream = pictures()
    # Pillow needs the durations of all frames in advance, but their number is not yet known.
    next(stream).save(path, save_all=True, append_images=stream, loop=0, duration=_Durations(fps / step), disposal=1)
    return count


class _Durations(list[int]):
    """Durations of frames in milliseconds, multiples of 10, rounded without accumulating errors."""

    def __init__(self, fps: float):
        super().__init__()
        self.fps = fps

    def __getitem__(self, index: int) -> int:  # type: ignore[override]
        return 10 * (round(100 * (index + 1) / self.fps) - round(100 * index / self.fps))


def _picture(frame: np.ndarray) -> Image:
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(frame))


def _palette(frame: np.ndarray) -> Image:
    """Return a palette of 256 colors from the first frame and the colors of skeletons."""
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
    height, width = (side + side % 2 for side in first.shape[:2])  # 4:2:0 needs even sides
    number = 0
    with av.open(str(path), "w", format="mp4") as container:
        stream = cast("VideoStream", container.add_stream(_encoder(), rate=Fraction(fps).limit_denominator(1001)))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "18", "preset": "veryfast", "qscale": "3"}
        for frame in chain([first], frames):
            padded = np.pad(frame, ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0)), mode="edge")
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(padded), format="rgb24")):
                container.mux(packet)
            number += 1
        for packet in stream.encode(None):
            container.mux(packet)
    return number


def _encoder() -> str:
    """Return the encoder: H.264 if PyAV has it (its wheels do), else MPEG-4 part 2."""
    import av

    try:
        av.codec.Codec("libx264", "w")
    except ValueError:  # UnknownCodecError
        return "mpeg4"
    return "libx264"
