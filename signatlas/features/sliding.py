"""Clip features of poses in this process, with the sign encoders that lie beside a model of sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from signatlas.errors import FeatureError
from signatlas.features.store import FeatureInfo, subsample
from signatlas.features.windows import starts
from signatlas.models.sign_classifier import SignClassifier
from signatlas.pose.prepared_clips import PoseBank

_UNKNOWN = {"kind": "precomputed", "streams": ("agnostic",)}
COPIES = "sign_encoders"  # the folder beside the model's weights, a sign classifier a stream


class Reader(Protocol):
    """A model that reads clip features: a dual encoder, a translator."""

    features: Any  # their width
    record: dict[str, Any]


def own_encoders(folder: Path, model: Reader) -> tuple[FeatureInfo, dict[str, Path]]:
    """How the features that a model was trained on were made, and the folder of the encoder of each stream.

    ``folder`` is that of ``model``. Raises FeatureError when it holds no sign encoders.
    """
    made = FeatureInfo.model_validate(
        {"width": model.features, "corpus": "", "corpus_fingerprint": "", **model.record.get("features_made", _UNKNOWN)}
    )
    folders = {s: folder / COPIES / s for s in made.streams if (folder / COPIES / s).is_dir()}
    if made.kind != "windows" or set(folders) != set(made.streams):
        raise FeatureError(
            f"the model in {folder} has no sign encoders of its own, so it cannot take poses: "
            "name clip features with --features"
        )
    return made, folders


class Slider:
    """Slides a model's own sign encoders over clips, as its training features were made."""

    def __init__(self, folder: Path, model: Reader, *, alpha: float, limit: int):
        """``folder`` is that of ``model``, which mixes streams by ``alpha`` and takes ``limit`` windows at most.

        Raises FeatureError when it holds no sign encoders.
        """
        self.made, folders = own_encoders(folder, model)
        self.streams = {stream: SignClassifier.from_pretrained(path) for stream, path in folders.items()}
        self.alpha, self.limit = alpha, limit

    def of(self, poses: np.ndarray, aspect: float | None = None, source: str | None = None) -> np.ndarray:
        """Features float32 [windows, width] of one clip [frames, 75, 3], mixed and subsampled as the model takes them.

        ``aspect`` is width/height; where it is unknown, what the encoders assume of ``source`` holds. Raises PoseError.
        """
        found = {}
        for stream, encoder in self.streams.items():
            window = self.made.window or encoder.config.frames
            first = starts(len(poses), window, self.made.stride or 1, self.made.limit)
            bank = PoseBank([(poses, aspect or encoder.config.aspect.get(source or ""))], encoder.config.points)
            values = encoder.window_features(bank, np.zeros(len(first), np.int64), first, window=window)
            found[stream] = values.astype(np.float16)[subsample(len(values), self.limit)]
        return mixed(found, self.made.streams, self.alpha)

    def windows(self, frames: int) -> int:
        """How many windows a clip of so many frames has before any are left out."""
        window = self.made.window or next(iter(self.streams.values())).config.frames
        return len(starts(frames, window, self.made.stride or 1))


def mixed(found: dict[str, np.ndarray], streams: Sequence[str], alpha: float) -> np.ndarray:
    """(1 - alpha) aware + alpha agnostic, float32 (CiCo, Eq. 1); a single stream stands for both."""
    if len(streams) == 1:
        return found[streams[0]].astype(np.float32)
    return np.asarray(np.float32(1 - alpha) * found["aware"] + np.float32(alpha) * found["agnostic"], np.float32)
