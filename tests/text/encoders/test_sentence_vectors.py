"""USE-m3 sentence vectors with trainable layers."""

from __future__ import annotations

import pytest
import torch

from signatlas.errors import ModelError, TextError
from signatlas.text import usem3
from signatlas.text.encoders import base as encoders
from signatlas.text.encoders import sentence_vectors as sentence
from signatlas.text.encoders.config import TextConfig
from signatlas.text.encoders.sentence_vectors import SentenceEncoder

TEXTS = ["Morgen regnet es.", "It will rain tomorrow.", "Morgen regnet es."]


@pytest.mark.parametrize(("depth", "layers"), [(1, 1), (2, 4), (3, 7)])
def test_one_token_per_text(depth, layers):
    encoder = encoders.build(TextConfig(kind="sentence", width=32, depth=depth), TEXTS)
    ids, mask = encoder.tokenize(TEXTS)
    assert ids.shape == (3, 1, 512) and ids.dtype == torch.float32 and mask.tolist() == [[True]] * 3
    words, one = encoder(ids, mask)
    assert words.shape == (3, 1, 32) and torch.equal(words[:, 0], one)
    assert torch.equal(one[0], one[2]) and not torch.equal(one[0], one[1])
    assert len(encoder.layers) == layers


def test_ids_are_use_m3_vectors_with_and_without_cache():
    encoder = SentenceEncoder.build(TextConfig(kind="sentence"))
    encoder.tokenize(TEXTS[1:2])
    ids, _ = encoder.tokenize([f"  {TEXTS[0]} ", TEXTS[1]])
    torch.testing.assert_close(ids[:, 0], torch.from_numpy(usem3.sentence_vectors(TEXTS[:2])))


def test_unknown_rate():
    encoder = SentenceEncoder.build(TextConfig(kind="sentence"))
    assert encoder.unknown_rate(["Haus", "🙂"]) == pytest.approx(1 / 3)  # ▁Haus, ▁, 🙂
    assert encoder.unknown_rate([]) == encoder.long_rate(["Haus " * 99]) == 0


def test_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(sentence, "CACHE_SIZE", 3)
    encoder = SentenceEncoder.build(TextConfig(kind="sentence"))
    for start in range(4):
        texts = [f"text {start}", f"text {start + 1}"]
        ids, _ = encoder.tokenize(texts)
        torch.testing.assert_close(ids[:, 0], torch.from_numpy(usem3.sentence_vectors(texts)))
        assert len(encoder._cache) <= 3


@pytest.mark.parametrize("text", ["", " \n", "\u200b"])
def test_an_empty_text_is_rejected_each_time(text):
    encoder = SentenceEncoder.build(TextConfig(kind="sentence"))
    for _ in range(2):
        with pytest.raises(TextError, match="text 2 of 2"):
            encoder.tokenize(["Tee", text])


def test_other_use_m3_weights_are_rejected(tmp_path):
    encoder = SentenceEncoder.build(TextConfig(kind="sentence"))
    encoder.save_assets(tmp_path)
    SentenceEncoder.load(encoder.config, tmp_path)
    path = tmp_path / "sentence.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"sha256": "', '"sha256": "0'), encoding="utf-8")
    with pytest.raises(ModelError, match="other weights"):
        SentenceEncoder.load(encoder.config, tmp_path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="damaged"):
        SentenceEncoder.load(encoder.config, tmp_path)
