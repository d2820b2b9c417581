"""Queries of a search: the poses of a corpus's clip, of a .pose file or of a .npy array."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from signatlas.corpus.format import SCHEMA, Clip, Corpus, table_to_clips
from signatlas.errors import CorpusError, PoseError
from signatlas.files import filesystem
from signatlas.pose.normalize import check


class PoseQuery(NamedTuple):
    """Poses float32 [frames, 75, 3] in image units; ``width`` and ``height`` of the image are None where unknown."""

    name: str
    poses: np.ndarray
    width: int | None = None
    height: int | None = None
    source: str | None = None
    id: str | None = None  # of a corpus's clip
    gloss: str | None = None

    @property
    def aspect(self) -> float | None:
        """width/height, None where unknown."""
        return self.width / self.height if self.width and self.height else None

    def __str__(self) -> str:
        return f"{self.name} ({self.gloss})" if self.gloss else self.name


class UnknownClip(CorpusError):
    """The corpus has no clip with this id."""


class ClipReader:
    """Random access to the clips of a corpus by id: all ids are read once, then one row group per clip.

    ``fingerprint`` is that of the corpus an index was built from. Raises CorpusError when it differs.
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: str | None = None):
        self.corpus = Corpus.open(path)
        if fingerprint not in (None, self.corpus.info.fingerprint):
            raise CorpusError(
                f"{self.corpus.path} is not the corpus that the index was built from (its fingerprint differs): "
                "build the index again or give that corpus"
            )

    @cached_property
    def _locations(self) -> dict[str, tuple[str, int]]:
        """id -> (file, row group)."""
        locations: dict[str, tuple[str, int]] = {}
        for name in self.corpus.files:
            file = self._open(name)
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["id"])["id"].to_pylist()
                locations.update(dict.fromkeys(ids, (name, group)))
        return locations

    def _open(self, name: str) -> pq.ParquetFile:
        store, path = filesystem(name)
        try:
            return pq.ParquetFile(store.open_input_file(path))
        except (pa.ArrowInvalid, OSError) as error:
            reason = str(error).splitlines()[0]
            raise CorpusError(f"{name} cannot be read ({reason}): import or fetch the corpus again") from error

    def __contains__(self, id: str) -> bool:
        return id in self._locations

    def clip(self, id: str) -> Clip:
        """Read one clip. Raises UnknownClip when there is no such clip."""
        if id not in self._locations:
            raise UnknownClip(f"no clip '{id}' in {self.corpus.path}")
        name, group = self._locations[id]
        file = self._open(name)
        table = file.read_row_group(group, columns=[c for c in SCHEMA.names if c in file.schema_arrow.names])
        for clip in table_to_clips(table.filter(pc.equal(table["id"], id)).combine_chunks()):
            return clip
        raise CorpusError(f"{name} was changed while it was open: open the corpus again")


def read_clip(id: str, corpus: str | os.PathLike[str], fingerprint: str | None = None) -> PoseQuery:
    """Read a clip of a corpus, checking the fingerprint if one is given. Raises CorpusError."""
    clip = ClipReader(corpus, fingerprint).clip(id)
    return PoseQuery(clip.id, clip.poses, clip.width, clip.height, clip.source, clip.id, clip.gloss)


def read_video(path: Path) -> PoseQuery:
    """Return the poses of a video, detected with MediaPipe. Raises MediaError."""
    from signatlas.corpus.extraction.recording import Options, extract
    from signatlas.corpus.sources.base import Item
    from signatlas.pose.holistic import Holistic

    holistic = Holistic()
    try:
        item = Item(id=path.name, media=str(path), sign_language="", source="")
        clip = extract(item, Options(), lambda: holistic)
    finally:
        holistic.close()
    return PoseQuery(path.name, check(clip.poses, str(path)), clip.width, clip.height)


def read_pose_file(path: Path) -> PoseQuery:
    """Read a .pose file or a .npy array [frames, 75, 3]. Raises PoseError."""
    from signatlas.pose.serialization import read_npy, read_pose

    if path.suffix == ".pose":
        content = read_pose(path)
        return PoseQuery(path.name, check(content.poses, str(path)), content.width, content.height)
    if path.suffix == ".npy":
        return PoseQuery(path.name, read_npy(path))
    raise PoseError(f"{path} is neither a .pose file nor a .npy array: extract its poses first")
