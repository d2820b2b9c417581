"""The sign classifier: features of length one that hold all the scores know; saved and loaded the same."""

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
def cut(continuous_corpus: Path) -> tuple[PreparedClips, np.ndarray, np.ndarray]:
    bank = PreparedClips.from_clips(Corpus.open(continuous_corpus), "nose_hands", {})
    return bank, *windows.all_starts(bank.lengths, limit=4)


def test_features_have_length_one_and_scores_are_linear_in_them(model, cut) -> None:
    points, present = (torch.from_numpy(a) for a in windows.take(*cut, 16, 16))
    with torch.no_grad():
        features, scores = model.features(points, present), model(points, present)
        weight, bias = model.head.weight * model.config.width**0.5, model.head.bias
    torch.testing.assert_close(features.norm(dim=1), torch.ones(len(features)))
    torch.testing.assert_close(scores, features @ weight.T + bias)
    assert scores.std(0).min() > 1e-3, "windows differ"


def test_features_of_a_bank_do_not_depend_on_the_batch(model, cut) -> None:
    whole = model.window_features(*cut)
    torch.testing.assert_close(whole, model.window_features(*cut, batch_size=7), rtol=1e-4, atol=1e-5)
    assert model.window_features(cut[0], cut[1][:0], cut[2][:0]).shape == (0, 16)


def test_it_loads_as_it_was_saved(model, cut, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "copy")
    again = SignClassifier.from_pretrained(tmp_path / "copy")
    assert again.classes == model.classes and again.record == {"recipe": "made in the test"} and not again.training
    np.testing.assert_allclose(again.window_features(*cut), model.window_features(*cut), atol=1e-6)


def test_another_kind_of_model_is_refused_in_one_line(small_model: Path, small_classifier: Path, tmp_path) -> None:
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
