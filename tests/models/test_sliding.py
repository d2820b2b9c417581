"""Features computed from poses equal those that the pipeline stores for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from signatlas.corpus.format import Corpus
from signatlas.errors import FeatureError, PoseError
from signatlas.features import store, windows
from signatlas.features.store import FeatureInfo
from signatlas.models.dual_encoder.config import DualEncoderConfig
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.models.sign_classifier import SignClassifier
from signatlas.models.sign_encoder import SignEncoderConfig
from signatlas.models.sliding import SIGN_ENCODERS, SlidingEncoder
from signatlas.pose.prepared_clips import PreparedClips

SIZES = {"width": 16, "depth": 1, "heads": 2, "feedforward": 16}


def dual(folder: Path, **settings: object) -> DualEncoder:
    config = DualEncoderConfig.model_validate(
        {"sign": {"max_windows": 3, "alpha": 0.7, **SIZES}, "text": {"max_tokens": 6, **SIZES}, "embedding": 16}
    )
    DualEncoder.build(config, ["word"], 16, record={"features_made": settings} if settings else {}).save_pretrained(
        folder
    )
    return DualEncoder.from_pretrained(folder)


def test_two_streams_are_mixed_as_the_store_mixes_them(small_corpus: Path, tmp_path: Path) -> None:
    corpus = Corpus.open(small_corpus)
    clips = [clip for clip, _ in zip(corpus, range(12), strict=False)]
    settings = {"kind": "windows", "streams": ("agnostic", "aware"), "window": 4, "stride": 1, "limit": 7}
    model = dual(tmp_path / "dual", **settings)
    arrays: dict[str, list[np.ndarray]] = {}
    for seed, stream in enumerate(settings["streams"]):  # type: ignore[arg-type, var-annotated]
        torch.manual_seed(seed)
        config = SignEncoderConfig(points="nose_hands", dims=2, frames=4, embedding=8, **SIZES)  # type: ignore[arg-type]
        encoder = SignClassifier(config, ("a", "b"))
        encoder.save_pretrained(tmp_path / "dual" / SIGN_ENCODERS / stream)
        prepared = PreparedClips.from_clips(clips, config.points, config.aspect)
        indices, starts = windows.all_starts(prepared.lengths, 4, 1, 7)
        features = encoder.eval().window_features(prepared, indices, starts, window=4)
        arrays[stream] = np.split(features, np.flatnonzero(np.diff(indices)) + 1)
    info = FeatureInfo.model_validate({**settings, "width": 16, "corpus": "small", "corpus_fingerprint": "x"})
    stored = store.write(tmp_path / "f", info, [c.id for c in clips], [len(a) for a in arrays["aware"]], arrays)
    slider = SlidingEncoder(tmp_path / "dual", model, alpha=0.7, limit=3)
    for position, clip in enumerate(clips):
        features = slider.features(clip.poses, 640 / 480)
        np.testing.assert_allclose(features, stored.of(position, alpha=0.7, limit=3), atol=2e-3)
        assert slider.count_windows(clip.num_frames) == clip.num_frames - 3
    with pytest.raises(PoseError, match="no finite features: are the coordinates in image units"):
        slider.features(np.where(np.arange(75)[:, None] % 2, 3e38, -3e38) * np.ones((6, 75, 3), np.float32))


def test_a_model_without_sign_encoders_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"no sign encoders of its own.*--features"):
        SlidingEncoder(tmp_path / "dual", dual(tmp_path / "dual"), alpha=0.7, limit=3)
    with pytest.raises(FeatureError, match="no sign encoders"):
        oracle = dual(tmp_path / "oracle", kind="glosses", streams=("agnostic",))
        SlidingEncoder(tmp_path / "oracle", oracle, alpha=0.7, limit=3)
