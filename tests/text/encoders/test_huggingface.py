"""Any encoder of Hugging Face, against transformers' own use of it."""

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


def test_words_and_vector_are_those_of_the_model(encoder, bert_folder):
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(bert_folder).eval(), AutoTokenizer.from_pretrained(bert_folder)
    said = ["Ich und du", TEXTS[2]]
    theirs = model(**tokenizer(said, return_tensors="pt", padding=True)).last_hidden_state
    ids, mask = encoder.tokenize(said)
    words, one = encoder(ids, mask)
    torch.testing.assert_close(one, theirs[:, 0])
    torch.testing.assert_close(words[mask], theirs[:, 1 : 1 + ids.shape[1]][mask])
    assert encoder.words("Das Haus") == ["Da", "-s", "Ha", "-u", "-s"]  # marks are no words


def test_padding_and_company_change_nothing(encoder):
    ids, mask = encoder.tokenize(TEXTS)
    words, one = encoder(ids, mask)
    for i, text in enumerate(TEXTS):
        alone, vector = encoder(*encoder.tokenize([text]))
        torch.testing.assert_close(alone[0], words[i, : alone.shape[1]])
        torch.testing.assert_close(vector[0], one[i])


def test_assets_restore_everything_but_the_weights(encoder, tmp_path):
    encoder.save_assets(tmp_path)
    restored = encoders.load(encoder.config, tmp_path).eval()
    restored.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(restored(*restored.tokenize(TEXTS)), encoder(*encoder.tokenize(TEXTS)))


def test_every_parameter_learns_from_word_tokens_alone(encoder):
    ids, mask = encoder.tokenize(TEXTS)
    (encoder(ids, mask)[0][mask] * torch.randn(int(mask.sum()), 32)).sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


def test_unknown_rate(encoder):
    assert encoder.unknown_rate(TEXTS) == 0 == encoder.unknown_rate([])
    assert encoder.unknown_rate(["Das 我"]) == pytest.approx(1 / 3)


def test_an_empty_text_is_refused(encoder):
    with pytest.raises(TextError, match="text 1 of 1 is empty"):
        encoder.tokenize([" "])


def test_too_many_tokens_are_refused(bert_folder):
    with pytest.raises(ModelError, match="does not take max_tokens 15"):
        HuggingFaceEncoder.build(TextConfig(kind="huggingface", name=str(bert_folder), max_tokens=15))


def test_what_is_no_encoder_is_refused(clip_folder, tmp_path):
    from transformers import BartConfig, GPT2Config

    GPT2Config().save_pretrained(tmp_path / "gpt2")
    BartConfig().save_pretrained(tmp_path / "bart")
    for folder, message in (
        (clip_folder, "use kind clip"),
        (tmp_path / "gpt2", "is a decoder .gpt2."),
        (tmp_path / "bart", "is an encoder-decoder"),
        (tmp_path / "none", "no encoder at"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            HuggingFaceEncoder.build(TextConfig(kind="huggingface", name=str(folder)))
        assert "\n" not in str(caught.value)


def test_a_checkpoint_without_the_weights_is_refused(bert_folder, tmp_path):
    """A folder of the right names but another model's weights must not become a random encoder."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(bert_folder, tmp_path / "bert")
    path = tmp_path / "bert" / "model.safetensors"
    held = load_file(path)
    lacking = {name: weight for name, weight in held.items() if "layer.1." not in name}
    save_file(lacking, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks \d+ weights"):
        HuggingFaceEncoder.build(TextConfig(kind="huggingface", name=str(tmp_path / "bert")))
