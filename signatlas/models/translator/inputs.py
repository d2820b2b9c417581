"""Inputs of a sign embedding: clip features, points of frames, or images of frames, padded to batches."""

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

FLOAT16_LIMIT = 6e4


class Source(Protocol):
    """A source of clips' inputs; ``counts`` are their frames or windows before subsampling."""

    ids: list[str]
    counts: np.ndarray
    width: int
    fingerprint: str

    def read(self, position: int, rng: np.random.Generator | None) -> np.ndarray:
        """Return one clip's inputs [T, ...], at most ``max_frames`` of them; augmented where ``rng`` is given."""


class SignInputs:
    """The inputs of a corpus's clips for one backbone; ``width`` is the number of values of a frame or window.

    ``lengths`` int64 are the frames or windows of each of ``ids`` in a batch. Clips without features, without a video,
    or with unusable poses are not among them.
    """

    def __init__(self, source: Source, limit: int, readers: int = 1):
        self.source, self.limit, self.readers = source, limit, readers
        self.ids, self.width, self.fingerprint = source.ids, source.width, source.fingerprint
        self.lengths = np.minimum(source.counts, limit)
        self._positions = {id: position for position, id in enumerate(self.ids)}

    @classmethod
    def open(
        cls, backbone: BackboneConfig, corpus: Corpus, *, features: str | None = None, frames: str | None = None,
        readers: int = 1,
    ) -> SignInputs:  # fmt: skip
        """Open the inputs of all clips of a corpus; poses are normalized here, once, into a temporary file.

        ``features``: folder of clip features. ``frames``: folder of videos or image folders named by clip id.
        ``readers``: threads that decode images, one clip each. Raises FeatureError for inputs that are missing,
        damaged or of another corpus.
        """
        source: Source
        if backbone.kind == "features":
            source = _FeatureSource(backbone, corpus, features)
        elif backbone.kind == "pose":
            source = _PoseSource(backbone, corpus)
        else:
            from signatlas.models.translator.images import ImageSource

            source = ImageSource(backbone, corpus, frames)
        return cls(source, backbone.max_frames, readers if backbone.kind == "resnet" else 1)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id: str) -> bool:
        return id in self._positions

    def batch(self, ids: Sequence[str], *, epoch: int | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs of clips, zero-padded to the longest, [B, L, width], and their mask bool [B, L].

        float32; images are uint8 [B, L, 3, size, size], which the backbone normalizes. With an ``epoch`` images are
        augmented, one draw per clip, a function of (seed, epoch, clip). Raises FeatureError.
        """

        def read(id: str) -> np.ndarray:
            if id not in self._positions:
                raise FeatureError(f"clip {id} has no inputs: it has no features, no video, or no usable poses")
            rng = None if epoch is None else np.random.default_rng([seed, epoch, zlib.crc32(id.encode()), 83])
            return self.source.read(self._positions[id], rng)

        if self.readers == 1:
            return pad([read(id) for id in ids])
        with ThreadPoolExecutor(self.readers) as pool:
            return pad(list(pool.map(read, ids)))

    def feature_settings(self) -> dict[str, Any] | None:
        """Return how clip features were computed, for the record of a model that reads them; None for other inputs."""
        if not isinstance(self.source, _FeatureSource):
            return None
        keys = {"kind", "streams", "window", "stride", "limit", "made"}
        return self.source.store.info.model_dump(mode="json", include=keys)

    def long_rate(self) -> float:
        """Return the share of clips with more than ``max_frames`` frames or windows, which are subsampled."""
        return float(np.mean(self.source.counts > self.limit)) if len(self.ids) else 0.0


def pad(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return arrays [T_i, ...] as one [B, L, ...], zero-padded to the longest, and the mask bool [B, L]."""
    longest = max(map(len, rows))
    x, mask = np.zeros((len(rows), longest, *rows[0].shape[1:]), rows[0].dtype), np.zeros((len(rows), longest), bool)
    for number, row in enumerate(rows):
        x[number, : len(row)], mask[number, : len(row)] = row, True
    return x, mask


def prepare_poses(
    backbone: BackboneConfig, poses: np.ndarray, aspect: float | None = None, fps: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs float32 [1, L, F] and mask [1, L] of one clip's poses [frames, 75, 3], for the backbone ``pose``.

    ``aspect``: width/height of the image where known. Raises PoseError, and FeatureError for another backbone.
    """
    if backbone.kind != "pose":
        raise FeatureError(f"a translator with the backbone '{backbone.kind}' takes no poses")
    values = pose_inputs(backbone, poses, aspect, fps)
    return pad([values[subsample(len(values), backbone.max_frames)]])


def prepare_video(backbone: BackboneConfig, path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs uint8 [1, L, 3, size, size] and mask [1, L] of one video, for the backbone ``resnet``.

    Raises MediaError, and FeatureError for another backbone.
    """
    if backbone.kind != "resnet":
        raise FeatureError(f"a translator with the backbone '{backbone.kind}' takes no images: extract poses first")
    from signatlas.models.translator.images import read_images

    return pad([read_images(path, backbone, None)])


def pose_inputs(backbone: BackboneConfig, poses: np.ndarray, aspect: float | None, fps: float | None) -> np.ndarray:
    """Return features float32 [T, F] of all frames, at ``rate`` frames per second where it is lower than ``fps``.

    Velocities are taken before subsampling to ``max_frames``, so that they do not depend on a clip's length.
    """
    import torch

    filled = fill(normalize(poses, aspect)[:, pose_features.POINT_SETS[backbone.points]])
    coordinates, present = filled.coordinates, filled.present
    if backbone.rate and fps and fps > backbone.rate:
        times = np.arange(frames_read(backbone, len(coordinates), fps), dtype=np.float32) * (fps / backbone.rate)
        coordinates, present = (at_times(x, np.minimum(times, len(x) - 1)) for x in (coordinates, present))
    return pose_features.build(
        torch.from_numpy(coordinates)[None], torch.from_numpy(present)[None],
        points=backbone.points, dims=backbone.dims, streams=backbone.streams,
    )[0].numpy()  # fmt: skip


def frames_read(backbone: BackboneConfig, frames: int, fps: float | None) -> int:
    """Return the number of a clip's frames that the backbone ``pose`` reads at its ``rate``, before subsampling."""
    rate = backbone.rate
    return frames if not (rate and fps and fps > rate) else int((frames - 1) * rate / fps) + 1


class _FeatureSource:
    """Clip features of a folder."""

    def __init__(self, backbone: BackboneConfig, corpus: Corpus, folder: str | None):
        if folder is None:
            raise FeatureError("the backbone 'features' needs clip features: set data.features to their folder")
        self.store, self.alpha, self.limit = FeatureStore.open(folder), backbone.alpha, backbone.max_frames
        info = self.store.info
        if info.corpus_fingerprint != corpus.info.fingerprint:
            raise FeatureError(
                f"{folder} was computed from {info.corpus}, another state of the corpus than {corpus.path}: compute "
                "the features again"
            )
        if backbone.features not in (None, info.width):
            raise FeatureError(
                f"{folder} has features of width {info.width}, but the recipe has {backbone.features}: correct "
                "backbone.features"
            )
        self.ids = [row["id"] for row in corpus.metadata() if row["id"] in self.store]
        self._positions = self.store.positions(self.ids)
        self.counts, self.width = self.store.counts[self._positions], info.width
        self.fingerprint = self.store.fingerprint

    def read(self, position: int, rng: np.random.Generator | None) -> np.ndarray:
        return self.store.of(int(self._positions[position]), alpha=self.alpha, limit=self.limit)


class _PoseSource:
    """Features of each frame's points, float16, in a temporary file that is removed with the process."""

    def __init__(self, backbone: BackboneConfig, corpus: Corpus):
        self.width = pose_features.width(backbone.points, backbone.dims, backbone.streams)
        counts = [frames_read(backbone, row["num_frames"], row["fps"]) for row in corpus.metadata()]
        total = sum(min(count, backbone.max_frames) for count in counts)
        with tempfile.TemporaryFile() as file:
            self._values = np.memmap(file, np.float16, "w+", shape=(max(1, total), self.width))
        self.ids, lengths, counts, end = [], [], [], 0
        for clip in corpus:
            try:
                values = pose_inputs(backbone, clip.poses, clip_aspect(clip, {}), clip.fps)
            except PoseError:
                continue  # a task reports how many clips are missing from the ids
            subsampled = values[subsample(len(values), backbone.max_frames)]
            self._values[end : end + len(subsampled)] = np.clip(subsampled, -FLOAT16_LIMIT, FLOAT16_LIMIT)
            end += len(subsampled)
            self.ids.append(clip.id)
            lengths.append(len(subsampled))
            counts.append(len(values))
        self.counts = np.array(counts, np.int64)
        self._ends = np.cumsum(lengths, dtype=np.int64)
        self._lengths = np.array(lengths, np.int64)
        settings = backbone.model_dump_json(include={"points", "dims", "streams", "max_frames", "rate"})
        self.fingerprint = hashlib.sha256(f"{corpus.info.fingerprint} {settings}".encode()).hexdigest()[:16]

    def read(self, position: int, rng: np.random.Generator | None) -> np.ndarray:
        end = self._ends[position]
        return np.asarray(self._values[end - self._lengths[position] : end], np.float32)
