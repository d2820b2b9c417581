"""CLIP's text model, against transformers' own use of it."""

from __future__ import annotations

import pytest
import torch

from signatlas.errors import ModelError, TextError
from signatlas.text.encoders import base as encoders
from signatlas.text.encoders.clip import ClipEncoder
from signatlas.text.encoders.config import TextConfig
from tests.text.conftest import TEXTS


@pytest.fixture()
def encoder(clip_folder) -> ClipEncoder:
    built = encoders.build(TextConfig(kind="clip", name=str(clip_folder), max_tokens=10), TEXTS)
    assert isinstance(built, ClipEncoder)
    return built.eval()


def test_words_and_vector_are_those_of_clip(encoder, clip_folder):
    from transformers import AutoTokenizer, CLIPModel

    clip, tokenizer = CLIPModel.from_pretrained(clip_folder).eval(), AutoTokenizer.from_pretrained(clip_folder)
    said = [TEXTS[2], "Ich und du"]
    theirs = clip.text_model(**tokenizer(said, return_tensors="pt", padding=True))
    ids, mask = encoder.tokenize(said)
    words, one = encoder(ids, mask)
    torch.testing.assert_close(one, theirs.pooler_output)
    torch.testing.assert_close(words[mask], theirs.last_hidden_state[:, 1 : 1 + ids.shape[1]][mask])
    assert words.shape == (2, ids.shape[1], 32) == (*mask.shape, encoder.width)


def test_padding_and_company_change_nothing(encoder):
    ids, mask = encoder.tokenize(TEXTS)
    assert mask.sum(1).tolist() == [10, 10, 3, 10]
    words, one = encoder(ids, mask)
    for i, text in enumerate(TEXTS):
        alone, vector = encoder(*encoder.tokenize([text]))
        torch.testing.assert_close(alone[0], words[i, : alone.shape[1]])
        torch.testing.assert_close(vector[0], one[i])


def test_words_see_only_what_is_before_them(encoder):
    ids, mask = encoder.tokenize(["Das Haus"])
    changed = ids.clone()
    changed[0, -1] = encoder.tokenize(["Tee"])[0][0, 0]
    torch.testing.assert_close(encoder(ids, mask)[0][:, :-1], encoder(changed, mask)[0][:, :-1])


def test_long_texts_keep_their_first_and_last_token(encoder):
    whole = encoder.tokenizer(TEXTS[3], add_special_tokens=False)["input_ids"]
    assert len(whole) > 10
    ids = encoder.tokenize([TEXTS[3]])[0][0].tolist()
    assert len(ids) == 10 and (ids[0], ids[-1]) == (whole[0], whole[-1])
    assert encoder.long_rate([TEXTS[3], TEXTS[2]]) == 0.5


def test_words_are_for_people(encoder):
    assert encoder.words("Das Haus") == ["Das", "Hau", "-s"]
    assert encoder.word_spans("Das Haus, ja")[:3] == [("Das", [0]), ("Haus", [1, 2]), (",", [3])]
    spans = encoder.word_spans(TEXTS[3])
    assert sorted(i for _, at in spans for i in at) == list(range(10))
    assert {word for word, _ in spans} <= set(TEXTS[3].split())


def test_assets_restore_everything_but_the_weights(encoder, tmp_path):
    encoder.save_assets(tmp_path)
    restored = encoders.load(encoder.config, tmp_path).eval()
    assert not torch.equal(restored(*restored.tokenize(TEXTS))[1], encoder(*encoder.tokenize(TEXTS))[1])
    restored.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(restored(*restored.tokenize(TEXTS)), encoder(*encoder.tokenize(TEXTS)))
    assert not list(tmp_path.glob("*.safetensors"))


def test_every_parameter_learns_from_word_tokens_alone(encoder):
    ids, mask = encoder.tokenize(TEXTS)
    (encoder(ids, mask)[0][mask] * torch.randn(int(mask.sum()), 32)).sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


def test_an_empty_text_is_refused(encoder):
    with pytest.raises(TextError, match="text 2 of 2 is empty"):
        encoder.tokenize(["Tee", " "])


def test_what_is_not_clip_is_refused(bert_folder, tmp_path, clip_folder, monkeypatch):
    for folder, message in ((bert_folder, "of type bert, not CLIP"), (tmp_path / "none", "no CLIP model at")):
        with pytest.raises(ModelError, match=message) as caught:
            ClipEncoder.build(TextConfig(kind="clip", name=str(folder)))
        assert "\n" not in str(caught.value)


def test_more_tokens_than_clip_has_positions_are_refused(clip_folder):
    with pytest.raises(ModelError, match="does not take max_tokens 11"):
        ClipEncoder.build(TextConfig(kind="clip", name=str(clip_folder), max_tokens=11))


def released_ids(tokenizer, text: str, length: int) -> list[int]:
    """Ids as CiCo's released loader makes them: start, words subsampled evenly, end, then zeros."""
    words = tokenizer(text, add_special_tokens=False)["input_ids"]
    room = length - 2
    if len(words) > room:
        words = [words[round(i * (len(words) - 1) / (room - 1))] for i in range(room)]
    ids = [tokenizer.bos_token_id, *words, tokenizer.eos_token_id]
    return ids + [0] * (length - len(ids))


def test_special_tokens_are_tokens_as_in_the_released_code_of_cico(clip_folder):
    from transformers import AutoTokenizer, CLIPModel

    clip, tokenizer = CLIPModel.from_pretrained(clip_folder).eval(), AutoTokenizer.from_pretrained(clip_folder)
    rows = torch.tensor([released_ids(tokenizer, text, 10) for text in TEXTS])
    lengths = [next((i for i, id in enumerate(row) if i and id == tokenizer.eos_token_id), 9) + 1 for row in rows]
    with torch.no_grad():
        theirs = clip.text_model(input_ids=rows).last_hidden_state  # causal, no padding mask

    config = TextConfig(kind="clip", name=str(clip_folder), max_tokens=10, special_tokens=True)
    encoder = encoders.build(config, TEXTS).eval()
    ids, mask = encoder.tokenize(TEXTS)
    assert ids.tolist() == rows[:, : ids.shape[1]].tolist()
    assert mask.sum(1).tolist() == lengths
    tokens, end = encoder(torch.nn.functional.pad(ids, (0, 10 - ids.shape[1])), mask)
    torch.testing.assert_close(tokens, theirs)  # padding included: it is a key of the released similarity
    torch.testing.assert_close(end, theirs[torch.arange(len(TEXTS)), torch.tensor(lengths) - 1])
    assert encoder.long_rate([TEXTS[3], TEXTS[2]]) == 0.5


def test_special_tokens_keep_words_and_positions_together(clip_folder):
    config = TextConfig(kind="clip", name=str(clip_folder), max_tokens=10, special_tokens=True)
    encoder = encoders.build(config, TEXTS)
    shown = encoder.words("Das Haus")
    assert len(shown) == len(encoder.tokenize(["Das Haus"])[0][0])
    assert (shown[0], shown[-1]) == ("<|startoftext|>", "<|endoftext|>")
    positions = [i for _, at in encoder.word_spans("Das Haus") for i in at]
    assert positions == list(range(1, len(shown) - 1))


def test_special_tokens_belong_to_clip():
    with pytest.raises(ValueError, match="special_tokens needs kind clip"):
        TextConfig(kind="pieces", special_tokens=True)
