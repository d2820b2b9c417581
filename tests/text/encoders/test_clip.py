"""The CLIP text encoder equals CLIP in transformers."""

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


def test_words_and_vector_equal_those_of_clip(encoder, clip_folder):
    from transformers import AutoTokenizer, CLIPModel

    clip, tokenizer = CLIPModel.from_pretrained(clip_folder).eval(), AutoTokenizer.from_pretrained(clip_folder)
    texts = [TEXTS[2], "Ich und du"]
    expected = clip.text_model(**tokenizer(texts, return_tensors="pt", padding=True))
    ids, mask = encoder.tokenize(texts)
    words, one = encoder(ids, mask)
    torch.testing.assert_close(one, expected.pooler_output)
    torch.testing.assert_close(words[mask], expected.last_hidden_state[:, 1 : 1 + ids.shape[1]][mask])
    assert words.shape == (2, ids.shape[1], 32) == (*mask.shape, encoder.width)


def test_outputs_do_not_depend_on_padding_or_batch(encoder):
    ids, mask = encoder.tokenize(TEXTS)
    assert mask.sum(1).tolist() == [10, 10, 3, 10]
    words, one = encoder(ids, mask)
    for i, text in enumerate(TEXTS):
        alone, vector = encoder(*encoder.tokenize([text]))
        torch.testing.assert_close(alone[0], words[i, : alone.shape[1]])
        torch.testing.assert_close(vector[0], one[i])


def test_attention_is_causal(encoder):
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


def test_word_labels_and_spans(encoder):
    assert encoder.words("Das Haus") == ["Das", "Hau", "-s"]
    assert encoder.word_spans("Das Haus, ja")[:3] == [("Das", [0]), ("Haus", [1, 2]), (",", [3])]
    spans = encoder.word_spans(TEXTS[3])
    assert sorted(i for _, positions in spans for i in positions) == list(range(10))
    assert {word for word, _ in spans} <= set(TEXTS[3].split())


def test_saved_assets_restore_the_encoder_without_weights(encoder, tmp_path):
    encoder.save_assets(tmp_path)
    restored = encoders.load(encoder.config, tmp_path).eval()
    assert not torch.equal(restored(*restored.tokenize(TEXTS))[1], encoder(*encoder.tokenize(TEXTS))[1])
    restored.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(restored(*restored.tokenize(TEXTS)), encoder(*encoder.tokenize(TEXTS)))
    assert not list(tmp_path.glob("*.safetensors"))


def test_word_tokens_give_every_parameter_a_gradient(encoder):
    ids, mask = encoder.tokenize(TEXTS)
    (encoder(ids, mask)[0][mask] * torch.randn(int(mask.sum()), 32)).sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


def test_an_empty_text_is_rejected(encoder):
    with pytest.raises(TextError, match="text 2 of 2 is empty"):
        encoder.tokenize(["Tee", " "])


def test_models_other_than_clip_are_rejected(bert_folder, tmp_path, clip_folder, monkeypatch):
    for folder, message in ((bert_folder, "of type bert, not CLIP"), (tmp_path / "none", "no CLIP model at")):
        with pytest.raises(ModelError, match=message) as error:
            ClipEncoder.build(TextConfig(kind="clip", name=str(folder)))
        assert "\n" not in str(error.value)


def test_max_tokens_beyond_the_positions_of_clip_is_rejected(clip_folder):
    with pytest.raises(ModelError, match="does not support max_tokens 11"):
        ClipEncoder.build(TextConfig(kind="clip", name=str(clip_folder), max_tokens=11))


def released_ids(tokenizer, text: str, length: int) -> list[int]:
    """Return the ids of CiCo's released loader: start, words subsampled evenly, end, then zeros."""
    words = tokenizer(text, add_special_tokens=False)["input_ids"]
    room = length - 2
    if len(words) > room:
        words = [words[round(i * (len(words) - 1) / (room - 1))] for i in range(room)]
    ids = [tokenizer.bos_token_id, *words, tokenizer.eos_token_id]
    return ids + [0] * (length - len(ids))


def test_special_tokens_equal_the_released_code_of_cico(clip_folder):
    from transformers import AutoTokenizer, CLIPModel

    clip, tokenizer = CLIPModel.from_pretrained(clip_folder).eval(), AutoTokenizer.from_pretrained(clip_folder)
    rows = torch.tensor([released_ids(tokenizer, text, 10) for text in TEXTS])
    lengths = [next((i for i, id in enumerate(row) if i and id == tokenizer.eos_token_id), 9) + 1 for row in rows]
    with torch.no_grad():
        expected = clip.text_model(input_ids=rows).last_hidden_state  # causal, no padding mask

    config = TextConfig(kind="clip", name=str(clip_folder), max_tokens=10, special_tokens=True)
    encoder = encoders.build(config, TEXTS).eval()
    ids, mask = encoder.tokenize(TEXTS)
    assert ids.tolist() == rows[:, : ids.shape[1]].tolist()
    assert mask.sum(1).tolist() == lengths
    tokens, end = encoder(torch.nn.functional.pad(ids, (0, 10 - ids.shape[1])), mask)
    torch.testing.assert_close(tokens, expected)  # padding included: it is a key of the released similarity
    torch.testing.assert_close(end, expected[torch.arange(len(TEXTS)), torch.tensor(lengths) - 1])
    assert encoder.long_rate([TEXTS[3], TEXTS[2]]) == 0.5


def test_word_positions_account_for_special_tokens(clip_folder):
    config = TextConfig(kind="clip", name=str(clip_folder), max_tokens=10, special_tokens=True)
    encoder = encoders.build(config, TEXTS)
    labels = encoder.words("Das Haus")
    assert len(labels) == len(encoder.tokenize(["Das Haus"])[0][0])
    assert (labels[0], labels[-1]) == ("<|startoftext|>", "<|endoftext|>")
    positions = [i for _, span in encoder.word_spans("Das Haus") for i in span]
    assert positions == list(range(1, len(labels) - 1))


def test_special_tokens_require_clip():
    with pytest.raises(ValueError, match="special_tokens needs kind clip"):
        TextConfig(kind="pieces", special_tokens=True)
