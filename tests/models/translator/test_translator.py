"""The translator: trained parts, padding, folders, decoding, alignment, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import MBartForConditionalGeneration

from signatlas.errors import ModelError
from signatlas.models.language_model import mbart
from signatlas.models.translator.config import TranslatorConfig
from signatlas.models.translator.translator import Translator

TEXTS = [f"{who} kommt {when} aus {where}." for who in ("Er", "Sie", "Der Mann") for when in ("morgen", "heute")
         for where in ("Berlin", "Wien", "dem Norden")]  # fmt: skip
LANGUAGE = {"vocabulary": 120, "width": 32, "layers": 2, "heads": 2, "feedforward": 32, "positions": 40}
SIGN = {"width": 24, "blocks": 2, "kernel": 3}


def build(seed: int = 0, with_text: bool = True, **changes) -> Translator:
    torch.manual_seed(seed)
    settings = {"sign": SIGN, "language": LANGUAGE, "lora": {"force": True, "rank": 4}} | changes
    return Translator.build(TranslatorConfig(**settings), TEXTS, "de", 10, with_text=with_text)


def clips(count: int = 4, frames: int = 20) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(count, frames, 10)).astype(np.float32)
    mask = np.ones((count, frames), bool)
    mask[1, 9:] = False
    return x, mask


def output(model: Translator, **options):
    x, mask = clips()
    ids, text_mask = model.vocabulary.encode(TEXTS[:4], "de")
    return model(torch.from_numpy(x), torch.from_numpy(mask), ids, text_mask, **options)


def trainable(model: Translator) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_lora_trains_only_adapters_in_both_sides_of_mbart():
    names = {name for name in trainable(build()) if name.startswith("language.")}
    assert names
    assert all("lora_" in name for name in names)
    for part in ("encoder", "decoder"):
        assert any(f"model.{part}." in name for name in names)


def test_the_text_encoder_is_frozen_unless_it_is_trained():
    assert not any(name.startswith("text_encoder") for name in trainable(build()))
    trained = build(text_encoder="trained", tuning="full")
    assert any(name.startswith("text_encoder") for name in trainable(trained))


def test_full_tuning_trains_all_of_mbart_and_frozen_none():
    full, frozen = trainable(build(tuning="full")), trainable(build(tuning="frozen"))
    assert "language.model.shared.weight" in full
    assert not any(name.startswith("language.") for name in frozen)
    assert "bridge.weight" in frozen


@pytest.mark.parametrize("tuning", ["lora", "frozen"])
def test_untrained_weights_are_not_frozen(tuning):
    with pytest.raises(ModelError, match=r"force"):
        build(tuning=tuning, lora={"force": False})


def test_a_frozen_text_encoder_has_no_dropout_while_training():
    model = build().train()
    ids, mask = model.vocabulary.encode(TEXTS[:3], "de")
    first, second = (model._text(ids, mask).tokens for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["fine_grained", "cls", "mean"])
def test_padding_has_no_influence(kind):
    model = build(similarity={"kind": kind}).eval()
    x, mask = clips()
    whole = model.visual_tokens(x, mask)
    alone = model.visual_tokens(x[1:2, :9], mask[1:2, :9])
    length = alone.tokens.shape[1]
    torch.testing.assert_close(whole.tokens[1, :length], alone.tokens[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(whole.cls[1], alone.cls[0], rtol=1e-4, atol=1e-5)
    assert whole.mask[1].sum() == alone.mask[0].sum() == 3
    texts = model.text_tokens([TEXTS[0], "Er"])
    short = model.text_tokens(["Er"])
    torch.testing.assert_close(texts.tokens[1, 1 : 1 + int(short.mask.sum())], short.tokens[0][short.mask[0]])


def test_special_tokens_are_not_words():
    model = build().eval()
    ids, mask = model.vocabulary.encode(TEXTS[:3], "de")
    tokens = model.text_tokens(TEXTS[:3])
    assert tokens.mask.sum(1).tolist() == [int(n) - 2 for n in mask.sum(1)]
    assert not tokens.mask[:, 0].any(), "the language code comes first"
    assert ids[0, 0] == model.vocabulary.language_id("de")


def test_the_loss_equals_that_of_mbart():
    """Without smoothing, the sum over tokens of the loss of transformers for the same hidden states."""
    model = build(tuning="full").eval()
    loss = output(model).translation
    x, mask = clips()
    hidden, hidden_mask = model.encode(torch.from_numpy(x), torch.from_numpy(mask))
    ids, text_mask = model.vocabulary.encode(TEXTS[:4], "de")
    start = torch.full((4, 1), model.vocabulary.eos)
    logits = model.language(
        encoder_outputs=(hidden,), attention_mask=hidden_mask, decoder_input_ids=torch.cat([start, ids[:, :-1]], 1)
    ).logits
    expected = -logits.log_softmax(-1).gather(2, ids[..., None])[..., 0][text_mask].sum()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)


def test_gradients_reach_the_signs_through_translation_and_alignment():
    for align in (False, True):
        model = build()
        result = output(model, align=align)
        (result.visual.tokens.square().sum() if align else result.translation).backward()
        assert model.bridge.weight.grad.abs().sum() > 0


def test_masked_language_modeling_trains_the_decoder_and_not_the_text_encoder():
    model = build(tuning="full", text_encoder="trained")
    masked = model.vocabulary.encode(TEXTS[:4], "de")[0].clone()
    masked[:, 1] = model.vocabulary.mask
    output(model, masked_ids_BT=masked).masked_language.backward()
    assert model.text_encoder.layers[0].fc1.weight.grad is None
    assert model.language.model.decoder.layers[0].fc1.weight.grad.abs().sum() > 0
    assert model.bridge.weight.grad is None


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_saved_model_loads_the_same(tuning, tmp_path):
    model = build(tuning=tuning, projection=16, language=LANGUAGE | {"encoder_layers": 1}).eval()
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.02  # as if trained
    model.save_pretrained(tmp_path / "model", "# A card\n")
    again = Translator.from_pretrained(tmp_path / "model")
    x, mask = clips()
    assert model.translate([(x, mask)], beams=2, max_new_tokens=8) == again.translate([(x, mask)], beams=2,
                                                                                       max_new_tokens=8)  # fmt: skip
    torch.testing.assert_close(model.visual_tokens(x, mask).tokens, again.visual_tokens(x, mask).tokens)
    torch.testing.assert_close(model.text_tokens(TEXTS).tokens, again.text_tokens(TEXTS).tokens)
    assert len(again.language.model.encoder.layers) == 1
    assert len(again.text_encoder.layers) == 2, "the text side keeps all its layers"


def test_stage_2_has_no_text_side(tmp_path):
    model = build(projection=16)
    model.drop_text_side()
    model.save_pretrained(tmp_path / "model")
    again = Translator.from_pretrained(tmp_path / "model")
    assert again.text_encoder is None
    assert not any(name.startswith(("text_encoder", "heads")) for name in again.state_dict())
    with pytest.raises(ModelError, match="no text encoder"):
        again.text_tokens(TEXTS[:1])


def test_beam_search_finds_the_learned_texts():
    """Also with alternatives, best first."""
    model = build(tuning="full", language=LANGUAGE | {"dropout": 0.0})
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=5e-3)
    model.train()
    for _ in range(120):
        optimizer.zero_grad()
        output(model).translation.backward()
        optimizer.step()
    x, mask = clips()
    assert model.translate([(x, mask)], beams=1) == TEXTS[:4]
    best = model.translate([(x, mask)], beams=4, best=2)
    assert best[::2] == TEXTS[:4]
    assert best[1] != best[0]
    assert model.translate([(x[1:2, :9], mask[1:2, :9])], beams=4) == TEXTS[1:2], "without the padding"
    assert model.training, "decoding restores the mode"


def test_too_many_sign_tokens_are_one_line():
    model = build(sign=SIGN | {"blocks": 0})
    with pytest.raises(ModelError, match="41 sign tokens exceed mBART's 40 positions"):
        model.visual_tokens(*(np.ones((1, 41, 10), np.float32), np.ones((1, 41), bool)))


def test_inputs_of_another_width_are_one_line():
    with pytest.raises(ModelError, match="inputs have width 12, the model takes 10"):
        build().visual_tokens(np.ones((1, 8, 12), np.float32), np.ones((1, 8), bool))


def test_a_pretrained_mbart_gives_both_encoders_and_the_decoder(tmp_path):
    torch.manual_seed(0)
    config = TranslatorConfig(language=LANGUAGE).language
    language, vocabulary = mbart.build(config, TEXTS, ["de"])
    mbart.mark_trained(language)
    mbart.save(language, vocabulary, tmp_path / "mbart", "# A card\n")
    model = build(language={"pretrained": str(tmp_path / "mbart")}, lora={"force": False, "rank": 4})
    plain = MBartForConditionalGeneration.from_pretrained(tmp_path / "mbart")
    for encoder in (model.text_encoder, model.language.model.encoder):
        torch.testing.assert_close(encoder.layers[0].fc1.weight, plain.model.encoder.layers[0].fc1.weight)
    torch.testing.assert_close(
        model.language.model.decoder.layers[1].fc2.weight, plain.model.decoder.layers[1].fc2.weight
    )


def test_damaged_folders_and_other_models_are_one_line(tmp_path):
    build().save_pretrained(tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    document = json.loads(config.read_text())
    for change, message in (
        ({"model_type": "signatlas.dual_encoder"}, "is a dual encoder, not a translator"),
        ({"translator": document["translator"] | {"tuning": "much"}}, r"config\.json: tuning: "),
        ({"mbart": document["mbart"] | {"d_model": 64}}, "do not fit config.json"),
        ({"mbart": [1]}, "damaged"),
        ({"features": "x"}, "damaged"),
    ):
        config.write_text(json.dumps(document | change))
        with pytest.raises(ModelError, match=message) as caught:
            Translator.from_pretrained(tmp_path / "model")
        assert "\n" not in str(caught.value)
    config.write_text(json.dumps({key: value for key, value in document.items() if key != "mbart"}))
    with pytest.raises(ModelError, match="damaged"):
        Translator.from_pretrained(tmp_path / "model")
    with pytest.raises(ModelError, match="no model at"):
        Translator.from_pretrained(Path("runs/not-there/model"))
