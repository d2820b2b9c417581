"""Frames of videos or of folders of pictures as squares for a picture backbone (GFSLT-VLP's preparation)."""

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

RESIZED = 256 / 224  # the short side, in sides of the square that is cut out of it
ROTATION, TRANSLATION = 30.0, 10  # degrees; pixels of a picture whose square has 224
CHANCE = 0.5  # of each of the two, once for a whole clip


class Pictures:
    """Pictures uint8 [T, 3, size, size] of clips whose video, or folder of pictures, lies in a folder.

    It is named by the clip's id, ``source/split/name.mp4``, or by the last parts of it, ``split/name.mp4``,
    ``name/0001.png``; the longest name found is taken.
    """

    def __init__(self, backbone: BackboneConfig, corpus: Corpus, folder: str | None):
        if folder is None:
            raise FeatureError("the backbone 'resnet' needs videos or pictures: name their folder as data.frames")
        if not os.path.isdir(folder):
            raise FeatureError(f"{folder} is no folder of videos or pictures: mend data.frames")
        self.backbone = backbone
        rows = corpus.metadata()
        found = dict(located(folder, [row["id"] for row in rows]))
        if not found:
            raise FeatureError(
                f"{folder} holds no video and no folder of pictures named by a clip of {corpus.path}, such as "
                f"{rows[0]['id'].rsplit('/', 1)[-1]}.mp4"
            )
        chosen = [row for row in rows if row["id"] in found]
        self.ids = [row["id"] for row in chosen]
        self._paths = [found[id] for id in self.ids]
        self.counts = np.array([row["num_frames"] for row in chosen], np.int64)
        self.width = 3 * backbone.size**2
        # A folder's own size says nothing, and differs between file systems.
        sizes = [path.stat().st_size if path.is_file() else 0 for path in self._paths]
        state = [f"{id} {path.name} {size}" for id, path, size in zip(self.ids, self._paths, sizes, strict=True)]
        said = "\n".join([corpus.info.fingerprint, f"{backbone.size} {backbone.max_frames}", *state])
        self.fingerprint = hashlib.sha256(said.encode()).hexdigest()[:16]

    def of(self, position: int, rng: np.random.Generator | None) -> np.ndarray:
        """Raises FeatureError naming the clip and the file."""
        path = self._paths[position]
        try:
            return pictures(path, self.backbone, rng)
        except MediaError as error:
            raise FeatureError(f"clip {self.ids[position]}: {error}") from error


def located(folder: str | os.PathLike[str], ids: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """The video or folder of pictures of each of ``ids`` that has one. Each folder is listed once."""
    listed: dict[Path, dict[str, Path]] = {}
    for id in ids:
        parts = PurePosixPath(id).parts
        for first in range(len(parts)):
            parent = Path(folder, *parts[first:-1])
            if parent not in listed:
                listed[parent] = _recordings(parent)
            if parts[-1] in listed[parent]:
                yield id, listed[parent][parts[-1]]
                break


def _recordings(folder: Path) -> dict[str, Path]:
    """Videos and folders in a folder, by name without the ending of a video."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise FeatureError(f"{folder} cannot be read ({error.strerror or error}); check your access") from error
    found = {}
    for entry in entries:
        if entry.is_dir():
            found[entry.name] = Path(entry.path)
        elif entry.name.lower().endswith(VIDEOS):
            found[os.path.splitext(entry.name)[0]] = Path(entry.path)
    return found


def pictures(
    path: str | os.PathLike[str], backbone: BackboneConfig, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Frames uint8 [T, 3, size, size], at most ``max_frames``, evenly spread; varied where ``rng`` is given.

    The short side becomes 256/224 of ``size``, then the middle is cut out; varied, a random place is, after a rotation
    of at most 30 degrees and a shift of at most 10 pixels (of 224), each for every second clip. Never mirrored: the
    hands would change places. A recording that ends before it announces gives what it has. Raises MediaError.
    """
    announced = video.probe(path).frames
    count = announced if announced is not None else sum(1 for _ in video.frames(path))
    wanted = set(subsample(count, backbone.max_frames).tolist())
    last = max(wanted, default=0)
    change = Change(backbone.size, rng)
    kept = []
    for number, picture in enumerate(video.frames(path)):
        if number in wanted:
            kept.append(change(picture))
        if number >= last:
            break
    return np.stack(kept)


class Change:
    """One way to bring pictures to a square, the same for all frames of a clip."""

    def __init__(self, size: int, rng: np.random.Generator | None):
        self.size = size
        self.place = (0.5, 0.5)
        self.angle, self.shift = 0.0, (0, 0)
        if rng is not None:
            # Always as many draws: what is drawn for one thing does not depend on whether another one happens.
            place, angle, shift, happens = rng.random(2), rng.uniform(-1, 1), rng.uniform(-1, 1, 2), rng.random(2)
            self.place = (float(place[0]), float(place[1]))
            self.angle = float(angle) * ROTATION if happens[0] < CHANCE else 0.0
            if happens[1] < CHANCE:
                pixels = TRANSLATION * size / 224
                self.shift = (round(float(shift[0]) * pixels), round(float(shift[1]) * pixels))

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """uint8 [height, width, 3] to uint8 [3, size, size]."""
        image = self._resized(picture)
        if self.angle or any(self.shift):
            from PIL import Image

            image = image.rotate(self.angle, Image.Resampling.BILINEAR, translate=self.shift)
        left, top = (round(at * (side - self.size)) for at, side in zip(self.place, image.size, strict=True))
        square = image.crop((left, top, left + self.size, top + self.size))
        return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))

    def _resized(self, picture: np.ndarray) -> Image:
        from PIL import Image

        height, width = picture.shape[:2]
        short = max(self.size, round(self.size * RESIZED))
        scale = short / min(height, width)
        size = max(short, round(width * scale)), max(short, round(height * scale))
        return Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)
