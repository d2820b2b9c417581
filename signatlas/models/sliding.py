"""Clip features of poses in this process, with the sign encoders that are saved with a model of sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from signatlas.errors import FeatureError, PoseError
from signatlas.features.store import FeatureInfo, subsample
from signatlas.features.windows import starts
from signatlas.models.sign_classifier import SignClassifier
from signatlas.pose.prepared_clips import PreparedClips

SIGN_ENCODERS = "sign_encoders"  # folder inside a model folder, with a sign classifier per stream
_UNKNOWN = {"kind": "precomputed", "streams": ("agnostic",)}


class FeatureReader(Protocol):
    """A model that reads clip features: a dual encoder, a translator; ``features`` is their width."""

    features: Any
    record: dict[str, Any]


def own_encoders(folder: Path, model: FeatureReader) -> tuple[FeatureInfo, dict[str, Path]]:
    """Return how a model's training features were computed, and the folder of the sign encoder of each stream.

    ``folder`` is that of ``model``. Raises FeatureError when it contains no sign encoders.
    """
    settings = model.record.get("features_made", _UNKNOWN)
    info = FeatureInfo.model_validate({"width": model.features, "corpus": "", "corpus_fingerprint": "", **settings})
    encoders = folder / SIGN_ENCODERS
    folders = {stream: encoders / stream for stream in info.streams if (encoders / stream).is_dir()}
    if info.kind != "windows" or set(folders) != set(info.streams):
        raise FeatureError(
            f"the model in {folder} has no sign encoders of its own, so it cannot take poses: "
            "pass clip features with --features"
        )
    return info, folders


class SlidingEncoder:
    """A model's own sign encoders, slid over clips as for its training features.

    ``folder`` is that of ``model``, which mixes streams by ``alpha`` and takes at most ``limit`` windows. Raises
    FeatureError when it contains no sign encoders.
    """

    def __init__(self, folder: Path, model: FeatureReader, *, alpha: float, limit: int):
        self.info, folders = own_encoders(folder, model)
        self.streams = {stream: SignClassifier.from_pretrained(path) for stream, path in folders.items()}
        self.alpha, self.limit = alpha, limit

    def features(self, poses: np.ndarray, aspect: float | None = None, source: str | None = None) -> np.ndarray:
        """Return features float32 [windows, width] of one clip [frames, 75, 3], mixed and subsampled for the model.

        ``aspect`` is width/height; where it is unknown, the encoders' assumption about ``source`` is used. Raises
        PoseError, also for coordinates so large that the features are not finite.
        """
        streams = {}
        for stream, encoder in self.streams.items():
            window = self.info.window or encoder.config.frames
            first = starts(len(poses), window, self.info.stride or 1, self.info.limit)
            given = aspect or encoder.config.aspect.get(source or "")
            with np.errstate(over="ignore", invalid="ignore"):  # an overflow is reported below
                clip = PreparedClips([(poses, given)], encoder.config.points)
                values = encoder.window_features(clip, np.zeros(len(first), np.int64), first, window=window)
                streams[stream] = values.astype(np.float16)[subsample(len(values), self.limit)]
            if not np.isfinite(streams[stream]).all():
                raise PoseError("the poses give no finite features: are the coordinates in image units?")
        return mix(streams, self.info.streams, self.alpha)

    def count_windows(self, frames: int) -> int:
        """Return the number of windows of a clip before subsampling."""
        window = self.info.window or next(iter(self.streams.values())).config.frames
        return len(starts(frames, window, self.info.stride or 1))


def mix(features: dict[str, np.ndarray], streams: Sequence[str], alpha: float) -> np.ndarray:
    """Return (1 - alpha) aware + alpha agnostic, float32 (CiCo, Eq. 1); a single stream is returned as it is."""
    if len(streams) == 1:
        return features[streams[0]].astype(np.float32)
    return np.asarray(np.float32(1 - alpha) * features["aware"] + np.float32(alpha) * features["agnostic"], np.float32)
