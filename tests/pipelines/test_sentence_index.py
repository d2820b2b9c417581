"""Index of clips from poses only, with the model's own sign encoders; needs Ray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cli.main import main
from signatlas.corpus.format import Corpus
from signatlas.models.dual_encoder.config import DualEncoderConfig
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.models.sign_classifier import SignClassifier
from signatlas.models.sign_encoder import SignEncoderConfig
from signatlas.models.sliding import SIGN_ENCODERS, SlidingEncoder
from signatlas.pose.attributes import attributes
from signatlas.retrieval.index_version import IndexVersion

pytestmark = pytest.mark.usefixtures("ray_session")
SIZES = {"width": 16, "depth": 1, "heads": 2, "feedforward": 16}


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main([str(w) for w in arguments])
    return int(exit_info.value.code or 0)


def test_clips_are_indexed_from_their_poses(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    feature_settings = {"kind": "windows", "streams": ("agnostic",), "window": 4, "stride": 1, "limit": 7}
    config = DualEncoderConfig.model_validate(
        {"sign": {"max_windows": 5, **SIZES}, "text": {"max_tokens": 6, **SIZES}, "embedding": 16}
    )
    model = DualEncoder.build(config, ["word"], 16, record={"features_made": feature_settings})
    model.save_pretrained(tmp_path / "dual")
    assert run("index", "build", tmp_path / "dual", small_corpus, "--out", tmp_path / "index") == 2
    assert "has no sign encoders of its own" in capsys.readouterr().err
    encoder = SignEncoderConfig(points="nose_hands", dims=2, frames=4, embedding=8, **SIZES)  # type: ignore[arg-type]
    SignClassifier(encoder, ("a", "b")).save_pretrained(tmp_path / "dual" / SIGN_ENCODERS / "agnostic")
    assert run("index", "build", tmp_path / "dual", small_corpus, "--out", tmp_path / "index", "--split", "dev") == 0
    built = IndexVersion.open(tmp_path / "index")
    clips = {clip.id: clip for clip in Corpus.open(small_corpus).split("dev")}
    assert built.manifest.count == len(clips) == 24 and built.manifest.features is None
    assert not list((tmp_path / "index").glob(".features-*"))
    for row in built.rows().to_pylist():
        expected = attributes(clips[row["id"]].poses, 640, 480)
        assert (row["hands"], row["movement"], row["location"]) == expected and row["corpus"] == "small"
    shard, sign = built.shard(0), model.config.sign
    # The model in the index computes features from poses.
    slider = SlidingEncoder(built.path / "model", model, alpha=sign.alpha, limit=sign.max_windows)
    assert shard.tokens is not None
    for number, id in enumerate(shard.ids[:4]):
        features = slider.features(clips[id].poses, 640 / 480)
        encoded = model.embed_features([(features[None], np.ones((1, len(features)), bool))])
        stored = shard.index.reconstruct(number)
        np.testing.assert_allclose(stored, model.pooled(encoded)[0].numpy(), atol=2e-3)
        assert shard.tokens.offsets[number + 1] - shard.tokens.offsets[number] == len(features)
