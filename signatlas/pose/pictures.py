"""A folder of pictures as a recording: frames in the natural order of their names (Pillow)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from signatlas.errors import MediaError
from signatlas.files import filesystem
from signatlas.pose.media import Limits, Media, Timed, display_name, exactly

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".png", ".jpg", ".jpeg")


def names(folder: str | os.PathLike[str]) -> list[str]:
    """Paths of the pictures inside their file system; frame10 comes after frame9. Raises MediaError without any."""
    from pyarrow.fs import FileSelector

    store, inner = filesystem(folder)
    held = [f for f in store.get_file_info(FileSelector(inner)) if f.is_file]
    found = [f.path for f in held if f.base_name.lower().endswith(ENDINGS) and not f.base_name.startswith(".")]
    if not found:
        raise MediaError(f"{display_name(folder)} holds no picture ({', '.join(ENDINGS)}) and is no video")
    return sorted(found, key=natural)


def natural(name: str) -> list[tuple[int, str]]:
    """Sorts numbers inside names by their value."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]


def probe(folder: str | os.PathLike[str], fps: float | None, limits: Limits) -> Media:
    """Like :func:`signatlas.pose.video.probe`."""
    found = names(folder)
    height, width = _picture(folder, found[0], limits)().shape[:2]
    return Media(os.fspath(folder), fps, width, height, len(found), len(found) / fps if fps else None, (width, height))


def timed(
    folder: str | os.PathLike[str],
    span: tuple[int, int] | None,
    seconds: tuple[float, float] | None,
    fps: float | None,
    limits: Limits,
    *,
    needs_fps: bool,
) -> Timed:
    """Each picture of the cut and its time in seconds (counted in 1/25 s where ``fps`` is unknown)."""
    name = display_name(folder)
    if fps is None and (needs_fps or seconds is not None):
        raise MediaError(f"{name} is a folder of pictures: give its frame rate (fps) to cut or thin it by time")
    found = names(folder)
    if span is not None and span[0] >= len(found):
        raise MediaError(f"{name} has {len(found)} frames, the span begins at {span[0]}; mend the span")
    step = 1 / exactly(fps or 25.0)
    low, high = span or (0, len(found))
    for number, path in enumerate(found[low:high], low):
        time = number * step
        if seconds is None or exactly(seconds[0]) <= time < exactly(seconds[1]):
            yield time, _picture(folder, path, limits)


def _picture(folder: str | os.PathLike[str], path: str, limits: Limits) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        from PIL import Image, ImageOps, UnidentifiedImageError

        store, _ = filesystem(folder)
        name = f"{display_name(folder)}/{path.rsplit('/', 1)[-1]}"
        try:
            with store.open_input_file(path) as file, Image.open(file) as image:
                _check(image, limits, name)
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise MediaError(f"{name} cannot be read ({reason}); make the picture again") from error

    return read


def _check(image: Image, limits: Limits, name: str) -> None:
    if max(image.size) > limits.side:
        raise MediaError(
            f"{name} has {image.width}x{image.height} pixels, more than {limits.side} a side; make it smaller first"
        )
