"""The sign classifier: unit features that determine the scores; saving and loading."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from signatlas.corpus.format import Corpus
from signatlas.errors import ModelError
from signatlas.features import windows
from signatlas.models.sign_classifier import SignClassifier
from signatlas.models.sign_encoder import SignEncoder
from signatlas.pose.prepared_clips import PreparedClips


@pytest.fixture(scope="module")
def model(small_classifier: Path) -> SignClassifier:
    return SignClassifier.from_pretrained(small_classifier)


@pytest.fixture(scope="module")
def cut_windows(continuous_corpus: Path) -> tuple[PreparedClips, np.ndarray, np.ndarray]:
    clips = PreparedClips.from_clips(Corpus.open(continuous_corpus), "nose_hands", {})
    return clips, *windows.all_starts(clips.lengths, limit=4)


def test_features_have_length_one_and_scores_are_linear_in_them(model, cut_windows) -> None:
    points, present = (torch.from_numpy(a) for a in windows.take(*cut_windows, 16, 16))
    with torch.no_grad():
        features, scores = model.features(points, present), model(points, present)
        weight, bias = model.head.weight * model.config.width**0.5, model.head.bias
    torch.testing.assert_close(features.norm(dim=1), torch.ones(len(features)))
    torch.testing.assert_close(scores, features @ weight.T + bias)
    assert scores.std(0).min() > 1e-3, "windows differ"


def test_window_features_do_not_depend_on_the_batch(model, cut_windows) -> None:
    whole = model.window_features(*cut_windows)
    torch.testing.assert_close(whole, model.window_features(*cut_windows, batch_size=7), rtol=1e-4, atol=1e-5)
    assert model.window_features(cut_windows[0], cut_windows[1][:0], cut_windows[2][:0]).shape == (0, 16)


def test_a_saved_model_loads_the_same(model, cut_windows, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "copy")
    again = SignClassifier.from_pretrained(tmp_path / "copy")
    assert again.classes == model.classes and again.record == {"recipe": "made in the test"} and not again.training
    np.testing.assert_allclose(again.window_features(*cut_windows), model.window_features(*cut_windows), atol=1e-6)


def test_another_type_of_model_is_one_line(small_model: Path, small_classifier: Path, tmp_path) -> None:
    with pytest.raises(ModelError, match="is a sign encoder, not a sign classifier"):
        SignClassifier.from_pretrained(small_model)
    with pytest.raises(ModelError, match="not a sign encoder"):
        SignEncoder.from_pretrained(small_classifier)
    broken = tmp_path / "broken"
    shutil.copytree(small_classifier, broken)
    config = json.loads((broken / "config.json").read_text()) | {"classes": ["one"]}
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"weights do not fit config\.json"):
        SignClassifier.from_pretrained(broken)
