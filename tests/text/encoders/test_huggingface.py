"""Hugging Face encoders equal the models in transformers."""

from __future__ import annotations

import pytest
import torch

from signatlas.errors import ModelError, TextError
from signatlas.text.encoders import base as encoders
from signatlas.text.encoders.config import TextConfig
from signatlas.text.encoders.huggingface import HuggingFaceEncoder
from tests.text.conftest import TEXTS


@pytest.fixture()
def encoder(bert_folder) -> HuggingFaceEncoder:
    built = encoders.build(TextConfig(kind="huggingface", name=str(bert_folder), max_tokens=14), TEXTS)
    assert isinstance(built, HuggingFaceEncoder)
    return built.eval()


def test_words_and_vector_equal_those_of_the_model(encoder, bert_folder):
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(bert_folder).eval(), AutoTokenizer.from_pretrained(bert_folder)
    texts = ["Ich und du", TEXTS[2]]
    expected = model(**tokenizer(texts, return_tensors="pt", padding=True)).last_hidden_state
    ids, mask = encoder.tokenize(texts)
    words, one = encoder(ids, mask)
    torch.testing.assert_close(one, expected[:, 0])
    torch.testing.assert_close(words[mask], expected[:, 1 : 1 + ids.shape[1]][mask])
    assert encoder.words("Das Haus") == ["Da", "-s", "Ha", "-u", "-s"]  # no special tokens


def test_outputs_do_not_depend_on_padding_or_batch(encoder):
    ids, mask = encoder.tokenize(TEXTS)
    words, one = encoder(ids, mask)
    for i, text in enumerate(TEXTS):
        alone, vector = encoder(*encoder.tokenize([text]))
        torch.testing.assert_close(alone[0], words[i, : alone.shape[1]])
        torch.testing.assert_close(vector[0], one[i])


def test_saved_assets_restore_the_encoder_without_weights(encoder, tmp_path):
    encoder.save_assets(tmp_path)
    restored = encoders.load(encoder.config, tmp_path).eval()
    restored.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(restored(*restored.tokenize(TEXTS)), encoder(*encoder.tokenize(TEXTS)))


def test_word_tokens_give_every_parameter_a_gradient(encoder):
    ids, mask = encoder.tokenize(TEXTS)
    (encoder(ids, mask)[0][mask] * torch.randn(int(mask.sum()), 32)).sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


def test_unknown_rate(encoder):
    assert encoder.unknown_rate(TEXTS) == 0 == encoder.unknown_rate([])
    assert encoder.unknown_rate(["Das 我"]) == pytest.approx(1 / 3)


def test_an_empty_text_is_rejected(encoder):
    with pytest.raises(TextError, match="text 1 of 1 is empty"):
        encoder.tokenize([" "])


def test_max_tokens_beyond_the_positions_is_rejected(bert_folder):
    with pytest.raises(ModelError, match="does not support max_tokens 15"):
        HuggingFaceEncoder.build(TextConfig(kind="huggingface", name=str(bert_folder), max_tokens=15))


def test_models_other_than_encoders_are_rejected(clip_folder, tmp_path):
    from transformers import BartConfig, GPT2Config

    GPT2Config().save_pretrained(tmp_path / "gpt2")
    BartConfig().save_pretrained(tmp_path / "bart")
    for folder, message in (
        (clip_folder, "use kind clip"),
        (tmp_path / "gpt2", "is a decoder .gpt2."),
        (tmp_path / "bart", "is an encoder-decoder"),
        (tmp_path / "none", "no encoder at"),
    ):
        with pytest.raises(ModelError, match=message) as error:
            HuggingFaceEncoder.build(TextConfig(kind="huggingface", name=str(folder)))
        assert "\n" not in str(error.value)


def test_a_checkpoint_with_missing_weights_is_rejected(bert_folder, tmp_path):
    """Missing weights must not silently be initialized at random."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(bert_folder, tmp_path / "bert")
    path = tmp_path / "bert" / "model.safetensors"
    weights = load_file(path)
    incomplete = {name: weight for name, weight in weights.items() if "layer.1." not in name}
    save_file(incomplete, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks \d+ weights"):
        HuggingFaceEncoder.build(TextConfig(kind="huggingface", name=str(tmp_path / "bert")))
