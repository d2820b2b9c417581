"""Inputs of a translator for one recording: a video, a file of poses, or a clip of a corpus."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from signatlas.corpus.format import METADATA_COLUMNS, Clip, Corpus, clips_to_table
from signatlas.errors import FeatureError, PoseError, UserError
from signatlas.features.store import FeatureStore
from signatlas.models import folder as model_folder
from signatlas.models.translator.inputs import SignInputs, frames_read, prepare_poses, prepare_video
from signatlas.models.translator.translator import Translator
from signatlas.pose.normalize import check, check_query

if TYPE_CHECKING:
    from signatlas.models.sliding import SlidingEncoder


class Recording(NamedTuple):
    """Inputs [1, L, ...] and mask [1, L] of a recording, notes on what is not used, and a reference text if known."""

    x: np.ndarray
    mask: np.ndarray
    notes: list[str]
    reference: str | None = None


class RecordingReader:
    """Reads recordings for one translator; its sign encoders are loaded once, and only if they are needed.

    ``model`` is the translator's folder, ``corpus`` the corpus of the clips that :meth:`read_clip` takes. ``features``
    and ``frames`` are folders of clip features and of videos, by default those of the training. Threads may share it.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        translator: Translator,
        corpus: Corpus | None = None,
        *,
        features: str | os.PathLike[str] | None = None,
        frames: str | os.PathLike[str] | None = None,
    ):
        self.model, self.translator, self.corpus = model, translator, corpus
        self.backbone, record = translator.config.sign.backbone, translator.record
        self._computes_missing_features = features is None
        self.features = str(features) if features else record.get("features")
        self.frames = str(frames) if frames else record.get("frames")

    @cached_property
    def sign_encoders(self) -> SlidingEncoder:
        """The model's own sign encoders, for the backbone ``features``. Raises FeatureError if it has none."""
        from signatlas.models.sliding import SlidingEncoder

        folder, backbone = model_folder.locate(self.model), self.backbone
        return SlidingEncoder(folder, self.translator, alpha=backbone.alpha, limit=backbone.max_frames)

    def read_file(self, path: Path) -> Recording:
        """Read a video, a folder of images, a .pose or a .npy file.

        Poses of a video are detected with MediaPipe. Raises UserError.
        """
        if self.backbone.kind != "resnet":
            return self.read_poses(_detect_poses(path))
        if path.suffix.lower() in (".pose", ".npy"):
            raise FeatureError(f"{path} has no images, which this translator reads: give the video")
        return self._check(path.name, Recording(*prepare_video(self.backbone, path), []))

    def read_poses(self, clip: Clip, aspect: float | None = None) -> Recording:
        """Read poses as such, or as features of the model's own sign encoders.

        ``aspect``: width/height of a clip that has no width and height. Raises UserError, also where no hand is
        visible in any frame: there is nothing to translate.
        """
        check_query(clip.poses, clip.id)
        return self._read_poses(clip, aspect)

    def _read_poses(self, clip: Clip, aspect: float | None = None) -> Recording:
        backbone = self.backbone
        check(clip.poses, clip.id)
        aspect = clip.width / clip.height if clip.width and clip.height else aspect
        if backbone.kind == "pose":
            x, mask = prepare_poses(backbone, clip.poses, aspect, clip.fps)
            count, unit = frames_read(backbone, clip.num_frames, clip.fps), "frames"
        elif backbone.kind == "resnet":
            raise FeatureError(f"{clip.id}: this translator reads images, not poses: give the video, or --frames")
        else:
            x = self.sign_encoders.features(clip.poses, aspect, clip.source)[None]
            mask, count = np.ones(x.shape[:2], bool), self.sign_encoders.count_windows(clip.num_frames)
            unit = "windows"
        return self._check(clip.id, Recording(x, mask, _subsampling_notes(count, x.shape[1], unit)))

    def read_clip(self, clip: Clip) -> Recording:
        """Read a clip of the corpus as the training read it, with its text as the reference.

        Where there are no features of the clip, they are computed from its poses. Raises UserError.
        """
        if self.corpus is None:
            raise UserError(f"'{clip.id}' cannot be read: the corpus of the clip is not known")
        reference = dict(reversed(clip.texts)).get(self.translator.language_code) or None
        if self.backbone.kind == "features" and self._computes_missing_features and not self._has_features(clip.id):
            return self._read_poses(clip)._replace(reference=reference)
        part = _OneClip(self.corpus, clip)
        inputs = SignInputs.open(self.backbone, part, features=self.features, frames=self.frames)
        x, mask = inputs.batch([clip.id])
        notes = _subsampling_notes(int(inputs.source.counts[0]), x.shape[1], "frames")
        return self._check(clip.id, Recording(x, mask, notes, reference))

    def _has_features(self, id: str) -> bool:
        """Return whether the folder of features exists, is of this corpus and has the clip."""
        if self.features is None or not Path(self.features).is_dir() or self.corpus is None:
            return False
        store = FeatureStore.open(self.features)
        return store.info.corpus_fingerprint == self.corpus.info.fingerprint and id in store

    def _check(self, name: str, recording: Recording) -> Recording:
        frames, shortest = recording.x.shape[1], self.translator.sign.shortest
        if frames < shortest:
            raise PoseError(f"{name}: {frames} frames or windows are too few: this translator needs {shortest}")
        return recording


class _OneClip(Corpus):
    """One clip of a corpus, in memory."""

    def __init__(self, corpus: Corpus, clip: Clip):
        super().__init__(corpus.path, corpus.info)
        self._clip = clip

    def metadata(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = clips_to_table([self._clip]).select(METADATA_COLUMNS).to_pylist()
        return rows

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Clip]:
        yield self._clip


def read_file(path: Path, model: str | os.PathLike[str], translator: Translator) -> Recording:
    """Read a video, a folder of images, a .pose or a .npy file. Raises UserError."""
    return RecordingReader(model, translator).read_file(path)


def read_clip(
    id: str,
    corpus: Corpus,
    model: str | os.PathLike[str],
    translator: Translator,
    *,
    features: str | os.PathLike[str] | None = None,
    frames: str | os.PathLike[str] | None = None,
) -> Recording:
    """Read a clip of a corpus (see :class:`RecordingReader`). Raises UserError."""
    for clip in corpus.where(lambda row: row["id"] == id):
        return RecordingReader(model, translator, corpus, features=features, frames=frames).read_clip(clip)
    raise UserError(f"'{id}' is neither a file nor a clip of {corpus.path}")


def _detect_poses(path: Path) -> Clip:
    """Return the poses of a file, detected in a video. Raises UserError."""
    from signatlas.corpus.extraction.recording import Options, extract
    from signatlas.corpus.sources.base import Item
    from signatlas.pose.holistic import Holistic
    from signatlas.pose.serialization import read_npy

    if path.suffix == ".npy":
        return Clip(path.name, "test", read_npy(path), "", "")
    item = Item(id=path.name, media=str(path), sign_language="", source="")
    if path.suffix == ".pose":
        return extract(item, Options(), Holistic)
    holistic = Holistic()
    try:
        return extract(item, Options(), lambda: holistic)
    finally:
        holistic.close()


def _subsampling_notes(count: int, used: int, unit: str) -> list[str]:
    if used >= count:
        return []
    return [f"{used} of the clip's {count} {unit} are used, evenly spread: the model takes no more"]
