"""Read a folder of images as a recording: frames in the natural order of their names (Pillow)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from signatlas.errors import MediaError
from signatlas.files import filesystem
from signatlas.pose.media import Limits, Media, TimedFrames, display_name, exactly

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg")


def list_images(folder: str | os.PathLike[str]) -> list[str]:
    """Return the paths of the images, inside their file system, in natural order. Raises MediaError without any."""
    from pyarrow.fs import FileSelector

    store, inner = filesystem(folder)
    files = [f for f in store.get_file_info(FileSelector(inner)) if f.is_file]
    paths = [f.path for f in files if f.base_name.lower().endswith(SUFFIXES) and not f.base_name.startswith(".")]
    if not paths:
        raise MediaError(f"{display_name(folder)} is a folder without images ({', '.join(SUFFIXES)}), not a recording")
    return sorted(paths, key=natural_order)


def natural_order(name: str) -> list[tuple[int, str]]:
    """Return a sort key that compares numbers in names by value: frame9 comes before frame10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]


def probe(folder: str | os.PathLike[str], fps: float | None, limits: Limits) -> Media:
    """Return size and length, as :func:`signatlas.pose.video.probe` does for videos. Decodes one image."""
    paths = list_images(folder)
    height, width = _decoder(folder, paths[0], limits)().shape[:2]
    return Media(os.fspath(folder), fps, width, height, len(paths), len(paths) / fps if fps else None, (width, height))


def timed_frames(
    folder: str | os.PathLike[str],
    span: tuple[int, int] | None,
    seconds: tuple[float, float] | None,
    fps: float | None,
    limits: Limits,
    *,
    needs_fps: bool,
) -> TimedFrames:
    """Yield the images of the time span with their times in seconds, at 25 fps if ``fps`` is unknown."""
    name = display_name(folder)
    if fps is None and (needs_fps or seconds is not None):
        raise MediaError(f"{name} is a folder of images without a frame rate: give fps to cut or resample it by time")
    paths = list_images(folder)
    if span is not None and span[0] >= len(paths):
        raise MediaError(f"{name} has {len(paths)} frames, but the span starts at {span[0]}: fix the span")
    step = 1 / exactly(fps or 25.0)
    low, high = span or (0, len(paths))
    for number, path in enumerate(paths[low:high], low):
        time = number * step
        if seconds is None or exactly(seconds[0]) <= time < exactly(seconds[1]):
            yield time, _decoder(folder, path, limits)


def _decoder(folder: str | os.PathLike[str], path: str, limits: Limits) -> Callable[[], np.ndarray]:
    def decode() -> np.ndarray:
        from PIL import Image, ImageOps, UnidentifiedImageError

        store, _ = filesystem(folder)
        name = f"{display_name(folder)}/{path.rsplit('/', 1)[-1]}"
        try:
            with store.open_input_file(path) as file, Image.open(file) as image:
                _check_size(image, limits, name)
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise MediaError(f"{name} cannot be read ({reason}): replace the image") from error

    return decode


def _check_size(image: Image, limits: Limits, name: str) -> None:
    if max(image.size) > limits.side:
        raise MediaError(
            f"{name} has {image.width}x{image.height} pixels, more than {limits.side} per side: resize it first"
        )
