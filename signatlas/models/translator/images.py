"""Frames of videos or of image folders as squares for an image backbone (as GFSLT-VLP prepares them)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from signatlas.corpus.format import Corpus
from signatlas.corpus.sources.media_listing import VIDEOS
from signatlas.errors import FeatureError, MediaError
from signatlas.features.store import subsample
from signatlas.models.translator.config import BackboneConfig
from signatlas.pose import video

if TYPE_CHECKING:
    from PIL.Image import Image

RESIZED = 256 / 224  # short side after resizing / side of the cropped square
ROTATION, TRANSLATION = 30.0, 10  # degrees; pixels for a square of 224
CHANCE = 0.5  # probability of rotation and of translation, each drawn once per clip


class ImageSource:
    """Images uint8 [T, 3, size, size] of clips whose videos or image folders are in a folder.

    Recordings are named by the clip's id, ``source/split/name.mp4``, or by its last parts, ``split/name.mp4``,
    ``name/0001.png``; the longest matching name is used.
    """

    def __init__(self, backbone: BackboneConfig, corpus: Corpus, folder: str | None):
        if folder is None:
            raise FeatureError("the backbone 'resnet' needs videos or images: set data.frames to their folder")
        if not os.path.isdir(folder):
            raise FeatureError(f"{folder} is not a folder of videos or images: correct data.frames")
        self.backbone = backbone
        metadata = corpus.metadata()
        paths = dict(find_recordings(folder, [row["id"] for row in metadata]))
        if not paths:
            raise FeatureError(
                f"{folder} contains no video and no image folder named by a clip of {corpus.path}, such as "
                f"{metadata[0]['id'].rsplit('/', 1)[-1]}.mp4"
            )
        rows = [row for row in metadata if row["id"] in paths]
        self.ids = [row["id"] for row in rows]
        self._paths = [paths[id] for id in self.ids]
        self.counts = np.array([row["num_frames"] for row in rows], np.int64)
        self.width = 3 * backbone.size**2
        # The size of a folder entry is meaningless and differs between file systems.
        sizes = [path.stat().st_size if path.is_file() else 0 for path in self._paths]
        state = [f"{id} {path.name} {size}" for id, path, size in zip(self.ids, self._paths, sizes, strict=True)]
        content = "\n".join([corpus.info.fingerprint, f"{backbone.size} {backbone.max_frames}", *state])
        self.fingerprint = hashlib.sha256(content.encode()).hexdigest()[:16]

    def read(self, position: int, rng: np.random.Generator | None) -> np.ndarray:
        """Read the images of one clip. Raises FeatureError naming the clip and the file."""
        path = self._paths[position]
        try:
            return read_images(path, self.backbone, rng)
        except MediaError as error:
            raise FeatureError(f"clip {self.ids[position]}: {error}") from error


def find_recordings(folder: str | os.PathLike[str], ids: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield the video or image folder of each of ``ids`` that has one; each folder is listed once."""
    listings: dict[Path, dict[str, Path]] = {}
    for id in ids:
        parts = PurePosixPath(id).parts
        for first in range(len(parts)):
            parent = Path(folder, *parts[first:-1])
            if parent not in listings:
                listings[parent] = _list_recordings(parent)
            if parts[-1] in listings[parent]:
                yield id, listings[parent][parts[-1]]
                break


def read_images(
    path: str | os.PathLike[str], backbone: BackboneConfig, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Return frames uint8 [T, 3, size, size], at most ``max_frames``, evenly spread; augmented where ``rng`` is given.

    The short side is resized to 256/224 of ``size`` and the center is cropped. With augmentation the crop is random,
    after a rotation of at most 30 degrees and a shift of at most 10 pixels (of 224), each with a chance of one half.
    Never mirrored: that would exchange the hands. A recording shorter than it announces gives the frames it has.
    Raises MediaError.
    """
    announced = video.probe(path).frames
    count = announced if announced is not None else sum(1 for _ in video.frames(path))
    numbers = set(subsample(count, backbone.max_frames).tolist())
    last = max(numbers, default=0)
    transform = ImageTransform(backbone.size, rng)
    images = []
    for number, frame in enumerate(video.frames(path)):
        if number in numbers:
            images.append(transform(frame))
        if number >= last:
            break
    return np.stack(images)


class ImageTransform:
    """Resizing, augmentation and cropping to a square, the same for all frames of a clip."""

    def __init__(self, size: int, rng: np.random.Generator | None):
        self.size = size
        self.crop = (0.5, 0.5)  # left and top, as shares of the free space
        self.angle, self.shift = 0.0, (0, 0)
        if rng is not None:
            # Always the same number of draws: whether one augmentation is applied does not change the draw of another.
            crop, angle, shift, chances = rng.random(2), rng.uniform(-1, 1), rng.uniform(-1, 1, 2), rng.random(2)
            self.crop = (float(crop[0]), float(crop[1]))
            self.angle = float(angle) * ROTATION if chances[0] < CHANCE else 0.0
            if chances[1] < CHANCE:
                pixels = TRANSLATION * size / 224
                self.shift = (round(float(shift[0]) * pixels), round(float(shift[1]) * pixels))

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Return uint8 [3, size, size] of a frame uint8 [height, width, 3]."""
        image = self._resize(frame)
        if self.angle or any(self.shift):
            from PIL import Image

            image = image.rotate(self.angle, Image.Resampling.BILINEAR, translate=self.shift)
        left, top = (round(share * (side - self.size)) for share, side in zip(self.crop, image.size, strict=True))
        square = image.crop((left, top, left + self.size, top + self.size))
        return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))

    def _resize(self, frame: np.ndarray) -> Image:
        from PIL import Image

        height, width = frame.shape[:2]
        short = max(self.size, round(self.size * RESIZED))
        scale = short / min(height, width)
        size = max(short, round(width * scale)), max(short, round(height * scale))
        return Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)


def _list_recordings(folder: Path) -> dict[str, Path]:
    """Return videos and folders in a folder, by name without the suffix of a video."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise FeatureError(f"{folder} cannot be read ({error.strerror or error}); check its permissions") from error
    recordings = {}
    for entry in entries:
        if entry.is_dir():
            recordings[entry.name] = Path(entry.path)
        elif entry.name.lower().endswith(VIDEOS):
            recordings[os.path.splitext(entry.name)[0]] = Path(entry.path)
    return recordings
