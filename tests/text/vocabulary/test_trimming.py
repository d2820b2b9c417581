"""Trimming: texts read as before, rows of weights follow their pieces, unseen words stay writable."""

from __future__ import annotations

import json

import pytest
import torch
from tokenizers import Tokenizer

from signatlas.errors import ModelError, TextError
from signatlas.models.language_model.config import LanguageConfig
from signatlas.models.language_model.mbart import build
from signatlas.text.vocabulary import trimming
from signatlas.text.vocabulary.vocabulary import Vocabulary

ALL = [
    f"{who} {does} {when} {what}."
    for who in ("Der Mann", "Die Frau", "Ein Kind")
    for does in ("kauft", "sucht")
    for when in ("morgen", "heute", "gestern")
    for what in ("Brot", "den Hund", "die blaue Hose", "Äpfel")
]
SOME = [text for text in ALL if "morgen" in text and "Mann" in text]


@pytest.fixture(scope="module")
def whole() -> Vocabulary:
    return Vocabulary.train(ALL, 200, ["de", "en"])


def small_model(texts: list[str], trained: Vocabulary | None = None):
    torch.manual_seed(0)
    return build(LanguageConfig(vocabulary=200, width=16, layers=1, heads=2, feedforward=16), texts, ["de", "en"])


def test_texts_are_read_as_before(whole):
    trimmed = trimming.trim_vocabulary(whole, SOME, ["de"])
    now = trimmed.vocabulary
    assert now.size == len(trimmed.kept) < whole.size == trimmed.total
    assert [now.tokens(row) for row in now.pieces(SOME)] == [whole.tokens(row) for row in whole.pieces(SOME)]
    assert now.decode(now.encode(SOME, "de")[0]) == SOME
    assert (now.bos, now.pad, now.eos, now.unk, now.mask) == (0, 1, 2, 3, now.size - 1)
    assert str(trimmed) == f"vocabulary trimmed to {now.size} of {whole.size} pieces"


def test_the_saved_one_is_small_and_whole(whole, tmp_path):
    now = trimming.trim_vocabulary(whole, SOME, ["de"]).vocabulary
    now.save(tmp_path)
    again = Vocabulary.load(tmp_path)
    assert again.pieces(ALL) == now.pieces(ALL) and again.size == now.size
    assert again.made["kept"] == now.size and again.made["total"] == whole.size
    assert len(json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]) == now.size


def test_only_the_languages_that_were_asked_for_are_kept(whole):
    now = trimming.trim_vocabulary(whole, SOME, ["de"]).vocabulary
    assert now.languages == ("de",)
    with pytest.raises(TextError, match="does not know language 'en'"):
        now.language_id("en")
    with pytest.raises(TextError, match="does not know language 'fr'"):
        trimming.trim_vocabulary(whole, SOME, ["fr"])


def test_new_words_of_known_characters_stay_writable(whole):
    now = trimming.trim_vocabulary(whole, SOME, ["de"]).vocabulary
    word = "romnagner"  # of the letters of "morgen" and "Mann"
    assert now.unknown_rate([word]) == 0
    assert now.decode(now.encode([word], "de")[0]) == [word]


def test_other_characters_are_reported_as_a_rate(whole):
    texts = ["Die Frau kauft Brot."]
    now = trimming.trim_vocabulary(whole, texts, ["de"]).vocabulary
    assert now.unknown_rate(texts) == 0 < now.unknown_rate(["zwölf"]) <= 1


def test_rows_of_weights_follow_their_pieces():
    model, whole = small_model(ALL)
    model.final_logits_bias.copy_(torch.randn(1, whole.size))
    before, bias = model.get_input_embeddings().weight.detach().clone(), model.final_logits_bias.clone()
    trimmed = trimming.trim_vocabulary(whole, SOME, ["de"])
    trimming.trim_model(model, trimmed.kept)
    weight = model.get_input_embeddings().weight
    for token in ("▁", "de_DE", "<mask>", "</s>", *trimmed.vocabulary.tokens(range(5, 20))):
        old, new = whole.tokenizer.token_to_id(token), trimmed.vocabulary.tokenizer.token_to_id(token)
        assert weight[new].equal(before[old]) and model.final_logits_bias[0, new] == bias[0, old]
    shared = weight.data_ptr()
    tied = (model.lm_head, model.model.shared, model.model.encoder.embed_tokens, model.model.decoder.embed_tokens)
    assert {part.weight.data_ptr() for part in tied} == {shared}, "what was tied stays tied"
    assert model.config.vocab_size == len(trimmed.kept) == weight.shape[0]


@torch.no_grad()
def test_the_model_says_the_same_of_kept_pieces():
    model, whole = small_model(ALL)
    model.eval()
    ids, mask = whole.encode(SOME, "de")
    before = model(input_ids=ids, attention_mask=mask, decoder_input_ids=ids).logits
    trimmed = trimming.trim_vocabulary(whole, SOME, ["de"])
    trimming.trim_model(model, trimmed.kept)
    now, mask = trimmed.vocabulary.encode(SOME, "de")
    after = model(input_ids=now, attention_mask=mask, decoder_input_ids=now).logits
    torch.testing.assert_close(after, before[..., list(trimmed.kept)])


def test_a_vocabulary_that_would_cut_otherwise_is_refused(whole, monkeypatch):
    """The check itself: take away a piece that the texts use."""
    kept = trimming._kept_ids

    def one_less(vocabulary, rows, languages):
        longest = max({id for row in rows for id in row}, key=lambda id: len(vocabulary.tokens([id])[0]))
        return [id for id in kept(vocabulary, rows, languages) if id != longest]

    monkeypatch.setattr(trimming, "_kept_ids", one_less)
    with pytest.raises(ModelError, match="would change the tokens of text") as caught:
        trimming.trim_vocabulary(whole, SOME, ["de"])
    assert "\n" not in str(caught.value) and "trim=false" in str(caught.value)


def test_unknown_characters_cost_what_they_did(whole):
    """An unknown character costs 10 more than the least likely piece, which is therefore kept."""

    def least(vocabulary: Vocabulary) -> float:
        return min(score for _, score in json.loads(vocabulary.tokenizer.to_str())["model"]["vocab"])

    odd = [*SOME, "Ж morgen жЖ"]
    trimmed = trimming.trim_vocabulary(whole, odd, ["de"]).vocabulary
    assert least(trimmed) == least(whole)
    assert [trimmed.tokens(r) for r in trimmed.pieces(odd)] == [whole.tokens(r) for r in whole.pieces(odd)]


def test_marks_behind_the_unigrams_are_kept(whole):
    """Other tokenizers add marks after the unigrams: their rows come too."""
    parts = json.loads(whole.tokenizer.to_str())
    unigrams = parts["model"]["vocab"]
    assert unigrams.pop()[0] == "<mask>"
    other = Vocabulary(Tokenizer.from_str(json.dumps(parts)), {"de": "de_DE"}, {})
    assert other.mask == len(unigrams)
    trimmed = trimming.trim_vocabulary(other, SOME, ["de"])
    assert trimmed.kept[-1] == other.mask and trimmed.vocabulary.mask == trimmed.vocabulary.size - 1


def test_a_model_of_another_vocabulary_is_refused():
    model, _ = small_model(ALL)
    with pytest.raises(ModelError, match="belongs to another model"):
        trimming.trim_model(model, [0, 1, 2, 3, 5000])
