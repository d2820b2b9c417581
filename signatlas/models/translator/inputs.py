"""What a sign embedding is given: clip features, points of frames, or pictures of frames, padded to batches."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from signatlas.corpus.format import Corpus
from signatlas.errors import FeatureError, PoseError
from signatlas.features.store import FeatureStore, subsample
from signatlas.models.translator.config import BackboneConfig
from signatlas.pose import features as pose_features
from signatlas.pose.normalize import at_times, fill, normalize
from signatlas.pose.prepared_clips import clip_aspect

_LARGEST = 6e4  # float16 holds it


class Source(Protocol):
    """Where the inputs of clips come from. ``counts`` are their frames or windows before subsampling."""

    ids: list[str]
    counts: np.ndarray
    width: int
    fingerprint: str

    def of(self, position: int, rng: np.random.Generator | None) -> np.ndarray:
        """One clip's inputs [T, ...], at most ``max_frames`` of them; ``rng`` where they are to be varied."""


class SignInputs:
    """The inputs of a corpus's clips for one backbone. ``width`` numbers a frame or window.

    ``lengths`` int64 are the frames or windows that each of ``ids`` has in a batch. Clips that have no features, no
    video, or poses that no model can look at are not among them.
    """

    def __init__(self, source: Source, limit: int, readers: int = 1):
        self.source, self.limit, self.readers = source, limit, readers
        self.ids, self.width, self.fingerprint = source.ids, source.width, source.fingerprint
        self.lengths = np.minimum(source.counts, limit)
        self._where = {id: place for place, id in enumerate(self.ids)}

    @classmethod
    def open(
        cls, backbone: BackboneConfig, corpus: Corpus, *, features: str | None = None, frames: str | None = None,
        readers: int = 1,
    ) -> SignInputs:  # fmt: skip
        """``features``: folder of clip features; ``frames``: folder of videos or picture folders named by clip id.

        ``readers``: threads that decode pictures, a clip each.

        Poses are normalized here, once, into a temporary file. Raises FeatureError for what is missing, damaged or of
        another corpus.
        """
        source: Source
        if backbone.kind == "features":
            source = _Features(backbone, corpus, features)
        elif backbone.kind == "pose":
            source = _Poses(backbone, corpus)
        else:
            from signatlas.models.translator.pictures import Pictures

            source = Pictures(backbone, corpus, frames)
        return cls(source, backbone.max_frames, readers if backbone.kind == "resnet" else 1)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id: str) -> bool:
        return id in self._where

    def batch(self, ids: Sequence[str], *, epoch: int | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Inputs of clips, zero-padded to the longest, [B, L, width], and their mask bool [B, L].

        float32; pictures are uint8 [B, L, 3, size, size], which the backbone brings to ImageNet's numbers. With an
        ``epoch`` pictures are varied, one draw a clip, a function of (seed, epoch, clip). Raises FeatureError.
        """

        def read(id: str) -> np.ndarray:
            if id not in self._where:
                raise FeatureError(f"clip {id} has no inputs: it has no features, no video, or no usable poses")
            rng = None if epoch is None else np.random.default_rng([seed, epoch, zlib.crc32(id.encode()), 83])
            return self.source.of(self._where[id], rng)

        if self.readers == 1:
            return padded([read(id) for id in ids])
        with ThreadPoolExecutor(self.readers) as pool:
            return padded(list(pool.map(read, ids)))

    def made(self) -> dict[str, Any] | None:
        """How clip features were made, for the record of a model that reads them; None for other inputs."""
        if not isinstance(self.source, _Features):
            return None
        named = {"kind", "streams", "window", "stride", "limit", "made"}
        return self.source.store.info.model_dump(mode="json", include=named)

    def long_rate(self) -> float:
        """The share of clips that have more than ``max_frames`` frames or windows and are therefore subsampled."""
        return float(np.mean(self.source.counts > self.limit)) if len(self.ids) else 0.0


def padded(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Arrays [T_i, ...] as one [B, L, ...], zero-padded to the longest, and the mask bool [B, L]."""
    longest = max(map(len, rows))
    x, mask = np.zeros((len(rows), longest, *rows[0].shape[1:]), rows[0].dtype), np.zeros((len(rows), longest), bool)
    for place, row in enumerate(rows):
        x[place, : len(row)], mask[place, : len(row)] = row, True
    return x, mask


def inputs_of_poses(
    backbone: BackboneConfig, poses: np.ndarray, aspect: float | None = None, fps: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs float32 [1, L, F] and mask [1, L] of one clip's poses [frames, 75, 3], for the backbone ``pose``.

    ``aspect``: width/height of the picture where known. Raises PoseError, and FeatureError for another backbone.
    """
    if backbone.kind != "pose":
        raise FeatureError(f"a translator with the backbone '{backbone.kind}' reads no poses")
    values = pose_inputs(backbone, poses, aspect, fps)
    return padded([values[subsample(len(values), backbone.max_frames)]])


def inputs_of_video(backbone: BackboneConfig, path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs uint8 [1, L, 3, size, size] and mask [1, L] of one video, for the backbone ``resnet``.

    Raises MediaError, and FeatureError for another backbone.
    """
    if backbone.kind != "resnet":
        raise FeatureError(f"a translator with the backbone '{backbone.kind}' reads no pictures: extract poses first")
    from signatlas.models.translator.pictures import pictures

    return padded([pictures(path, backbone, None)])


def pose_inputs(backbone: BackboneConfig, poses: np.ndarray, aspect: float | None, fps: float | None) -> np.ndarray:
    """Features float32 [T, F] of all frames, at ``rate`` frames a second where it is lower than ``fps``.

    Velocities are those between frames that are looked at before subsampling to ``max_frames``, so that they do not
    depend on how long a clip is.
    """
    import torch

    found = fill(normalize(poses, aspect)[:, pose_features.POINT_SETS[backbone.points]])
    coordinates, present = found.coordinates, found.present
    if backbone.rate and fps and fps > backbone.rate:
        times = np.arange(_looked_at(len(coordinates), fps, backbone.rate), dtype=np.float32) * (fps / backbone.rate)
        coordinates, present = (at_times(x, np.minimum(times, len(x) - 1)) for x in (coordinates, present))
    return pose_features.build(
        torch.from_numpy(coordinates)[None], torch.from_numpy(present)[None],
        points=backbone.points, dims=backbone.dims, streams=backbone.streams,
    )[0].numpy()  # fmt: skip


def _looked_at(frames: int, fps: float | None, rate: float | None) -> int:
    """How many of a clip's frames are looked at."""
    return frames if not (rate and fps and fps > rate) else int((frames - 1) * rate / fps) + 1


class _Features:
    """Clip features of a folder."""

    def __init__(self, backbone: BackboneConfig, corpus: Corpus, folder: str | None):
        if folder is None:
            raise FeatureError("the backbone 'features' needs a folder of clip features: name it as data.features")
        self.store, self.alpha, self.limit = FeatureStore.open(folder), backbone.alpha, backbone.max_frames
        info = self.store.info
        if info.corpus_fingerprint != corpus.info.fingerprint:
            raise FeatureError(
                f"{folder} was made from {info.corpus}, another state of the corpus than {corpus.path}: make the "
                "features again"
            )
        if backbone.features not in (None, info.width):
            raise FeatureError(
                f"the recipe says features of width {backbone.features}, {folder} has {info.width}: mend "
                "backbone.features"
            )
        self.ids = [row["id"] for row in corpus.metadata() if row["id"] in self.store]
        self._positions = self.store.positions(self.ids)
        self.counts, self.width = self.store.counts[self._positions], info.width
        self.fingerprint = self.store.fingerprint

    def of(self, position: int, rng: np.random.Generator | None) -> np.ndarray:
        return self.store.of(int(self._positions[position]), alpha=self.alpha, limit=self.limit)


class _Poses:
    """Features of the points of each frame, float16, in a temporary file that goes with the process."""

    def __init__(self, backbone: BackboneConfig, corpus: Corpus):
        self.width = pose_features.width(backbone.points, backbone.dims, backbone.streams)
        rows = corpus.metadata()
        counts = [_looked_at(row["num_frames"], row["fps"], backbone.rate) for row in rows]
        most = sum(min(count, backbone.max_frames) for count in counts)
        with tempfile.TemporaryFile() as file:
            self._values = np.memmap(file, np.float16, "w+", shape=(max(1, most), self.width))
        self.ids, lengths, kept, done = [], [], [], 0
        for clip in corpus:
            try:
                values = pose_inputs(backbone, clip.poses, clip_aspect(clip, {}), clip.fps)
            except PoseError:
                continue  # not among the ids: a task says how many are left out
            chosen = values[subsample(len(values), backbone.max_frames)]
            self._values[done : done + len(chosen)] = np.clip(chosen, -_LARGEST, _LARGEST)
            done += len(chosen)
            self.ids.append(clip.id)
            lengths.append(len(chosen))
            kept.append(len(values))
        self.counts = np.array(kept, np.int64)
        self._ends = np.cumsum(lengths, dtype=np.int64)
        self._lengths = np.array(lengths, np.int64)
        said = backbone.model_dump_json(include={"points", "dims", "streams", "max_frames", "rate"})
        self.fingerprint = hashlib.sha256(f"{corpus.info.fingerprint} {said}".encode()).hexdigest()[:16]

    def of(self, position: int, rng: np.random.Generator | None) -> np.ndarray:
        end = self._ends[position]
        return np.asarray(self._values[end - self._lengths[position] : end], np.float32)
