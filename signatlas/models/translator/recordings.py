"""Inputs of a translator for one recording: a video, a file of poses, or a clip of a corpus."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from signatlas.corpus.format import Clip, Corpus
from signatlas.corpus.texts import text_in
from signatlas.errors import FeatureError, UserError
from signatlas.features.store import FeatureStore
from signatlas.models import folder as model_folder
from signatlas.models.translator.inputs import SignInputs, frames_read, prepare_poses, prepare_video
from signatlas.models.translator.translator import Translator
from signatlas.pose.normalize import check


class Recording(NamedTuple):
    """Inputs [1, L, ...] and mask [1, L] of a recording, notes on what is not used, and a reference text if known."""

    x: np.ndarray
    mask: np.ndarray
    notes: list[str]
    reference: str | None = None


def read_file(path: Path, model: str | os.PathLike[str], translator: Translator) -> Recording:
    """Read a video, a folder of images, a .pose or a .npy file; ``model`` is the translator's folder.

    Poses of a video are detected with MediaPipe. Raises UserError.
    """
    backbone = translator.config.sign.backbone
    if backbone.kind != "resnet":
        return read_poses(_detect_poses(path), model, translator)
    if path.suffix.lower() in (".pose", ".npy"):
        raise FeatureError(f"{path} has no images, which this translator reads: give the video")
    return Recording(*prepare_video(backbone, path), [])


def read_clip(
    id: str,
    corpus: Corpus,
    model: str | os.PathLike[str],
    translator: Translator,
    *,
    features: str | os.PathLike[str] | None = None,
    frames: str | os.PathLike[str] | None = None,
) -> Recording:
    """Read a clip of a corpus, with its text as the reference; ``model`` is the translator's folder.

    ``features`` and ``frames`` are folders of clip features and of videos, by default those of the training. Where
    there are no features of the clip, they are computed from its poses. Raises UserError.
    """
    part = corpus.where(lambda row: row["id"] == id)
    rows = part.metadata()
    if not rows:
        raise UserError(f"'{id}' is neither a file nor a clip of {corpus.path}")
    reference = text_in(rows[0], translator.language_code) or None
    backbone, record = translator.config.sign.backbone, translator.record
    feature_folder = str(features) if features else record.get("features")
    if backbone.kind == "features" and not features and not _has_features(feature_folder, corpus, id):
        return read_poses(part.clip(id), model, translator)._replace(reference=reference)
    inputs = SignInputs.open(
        backbone, part, features=feature_folder, frames=str(frames) if frames else record.get("frames")
    )
    x, mask = inputs.batch([id])
    return Recording(x, mask, _subsampling_notes(int(inputs.source.counts[0]), x.shape[1], "frames"), reference)


def read_poses(clip: Clip, model: str | os.PathLike[str], translator: Translator) -> Recording:
    """Read poses as such, or as features of the model's own sign encoders. Raises UserError."""
    from signatlas.models.sliding import SlidingEncoder

    backbone = translator.config.sign.backbone
    check(clip.poses, clip.id)
    aspect = clip.width / clip.height if clip.width and clip.height else None
    if backbone.kind == "pose":
        x, mask = prepare_poses(backbone, clip.poses, aspect, clip.fps)
        count = frames_read(backbone, clip.num_frames, clip.fps)
        return Recording(x, mask, _subsampling_notes(count, x.shape[1], "frames"))
    if backbone.kind == "resnet":
        raise FeatureError(f"{clip.id}: this translator reads images, not poses: give the video, or --frames")
    encoder = SlidingEncoder(model_folder.locate(model), translator, alpha=backbone.alpha, limit=backbone.max_frames)
    x = encoder.features(clip.poses, aspect, clip.source)[None]
    notes = _subsampling_notes(encoder.count_windows(clip.num_frames), x.shape[1], "windows")
    return Recording(x, np.ones(x.shape[:2], bool), notes)


def _has_features(folder: str | None, corpus: Corpus, id: str) -> bool:
    """Return whether a folder of features exists, is of this corpus and has the clip."""
    if folder is None or not Path(folder).is_dir():
        return False
    store = FeatureStore.open(folder)
    return store.info.corpus_fingerprint == corpus.info.fingerprint and id in store


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
