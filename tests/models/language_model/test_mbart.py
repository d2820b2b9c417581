"""mBART: sizes, trained and random weights, folders, shortened and reinitialized decoders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from signatlas.errors import ModelError, TextError
from signatlas.models.language_model import mbart
from signatlas.models.language_model.config import LanguageConfig, LoraSettings
from signatlas.models.language_model.lora import add_lora

TEXTS = [f"{who} kauft {when} {what}." for who in ("Der Mann", "Die Frau") for when in ("morgen", "heute")
         for what in ("Brot", "Äpfel", "den blauen Hut")]  # fmt: skip
SMALL = {"vocabulary": 200, "width": 16, "layers": 2, "heads": 2, "feedforward": 16, "positions": 64}


def build(**more):
    torch.manual_seed(0)
    return mbart.build(LanguageConfig(**(SMALL | more)), TEXTS, ["de"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as pretraining saves it."""
    model, vocabulary = build()
    mbart.mark_trained(model)
    path = tmp_path_factory.mktemp("language") / "model"
    mbart.save(model, vocabulary, path, "# A card\n")
    return path


def logits(model, vocabulary, texts=TEXTS):
    ids, mask = vocabulary.encode(texts, "de")
    with torch.no_grad():
        return model.eval()(input_ids=ids, attention_mask=mask, decoder_input_ids=ids).logits


def test_a_new_model_has_the_conventions_of_mbart():
    model, vocabulary = build()
    config = model.config
    assert (config.d_model, config.encoder_layers, config.decoder_layers, config.decoder_ffn_dim) == (16, 2, 2, 16)
    assert config.vocab_size == vocabulary.size and config.scale_embedding and config.max_position_embeddings == 64
    assert config.decoder_start_token_id == config.eos_token_id == vocabulary.eos
    assert config._attn_implementation == "sdpa"
    assert model.lm_head.weight is model.model.shared.weight, "input and output share embeddings"
    assert not mbart.is_trained(model) and not mbart.is_trained(model, "decoder")


def test_the_same_seed_makes_the_same_weights():
    first, second = build()[0].state_dict(), build()[0].state_dict()
    assert all(first[name].equal(second[name]) for name in first)


def test_decoder_inputs_are_shifted_labels():
    """mBART's own shift: decoder input is </s>, language, pieces."""
    from transformers.models.mbart.modeling_mbart import shift_tokens_right

    model, vocabulary = build()
    ids, _ = vocabulary.encode(TEXTS[:2], "de")
    shifted = shift_tokens_right(ids, vocabulary.pad)
    assert (
        shifted[:, 0].tolist() == [vocabulary.eos] * 2 and shifted[:, 1].tolist() == [vocabulary.language_id("de")] * 2
    )
    out = model.generate(
        input_ids=ids, forced_bos_token_id=vocabulary.language_id("de"), max_new_tokens=6, num_beams=2, do_sample=False
    )
    assert out[:, 0].tolist() == [vocabulary.eos] * 2 and out[:, 1].tolist() == [vocabulary.language_id("de")] * 2


def test_a_saved_model_loads_the_same(folder):
    model, vocabulary = mbart.load(folder)
    assert mbart.is_trained(model) and mbart.is_trained(model, "decoder")
    again, words = build()
    assert logits(model, vocabulary).equal(logits(again, words))
    assert (folder / "README.md").read_text() == "# A card\n"


def test_plain_transformers_reads_the_folder(folder):
    from transformers import AutoTokenizer, MBartForConditionalGeneration

    plain, tokenizer = MBartForConditionalGeneration.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    model, vocabulary = mbart.load(folder)
    assert logits(plain, vocabulary).equal(logits(model, vocabulary))
    assert tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"] == vocabulary.pieces(TEXTS[:1])[0]


def test_random_weights_stay_random_when_saved(tmp_path):
    model, vocabulary = build()
    mbart.save(model, vocabulary, tmp_path / "model", "# A card\n")
    model, _ = mbart.load(tmp_path / "model")
    assert not mbart.is_trained(model)
    with pytest.raises(ModelError, match="noise"):
        add_lora(model.model.encoder, LoraSettings(), trained=mbart.is_trained(model))


def test_a_model_without_our_marks_counts_as_trained(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    del config["signatlas_trained"], config["signatlas_decoder_trained"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert mbart.is_trained(mbart.load(tmp_path)[0])


def test_other_weights_can_be_saved(folder, tmp_path):
    model, vocabulary = mbart.load(folder)
    state = {name: torch.full_like(tensor, 0.5) for name, tensor in model.state_dict().items()}
    mbart.save(model, vocabulary, tmp_path / "model", "# A card\n", state)
    assert (mbart.load(tmp_path / "model")[0].model.shared.weight == 0.5).all()


def test_a_pretrained_model_is_trimmed(folder):
    some = [text for text in TEXTS if "Mann" in text and "Brot" in text]
    model, vocabulary = mbart.build(LanguageConfig(pretrained=str(folder)), some, ["de"])
    whole, words = mbart.load(folder)
    assert vocabulary.size < words.size and model.config.vocab_size == vocabulary.size
    kept = [words.tokenizer.token_to_id(token) for token in vocabulary.tokens(range(vocabulary.size))]
    torch.testing.assert_close(logits(model, vocabulary, some), logits(whole, words, some)[..., kept])
    assert mbart.build(LanguageConfig(pretrained=str(folder), trim=False), some, ["de"])[1].size == words.size


def test_a_pretrained_model_keeps_its_dropout_unless_it_is_set(folder):
    own = mbart.load(folder)[0].config.dropout
    other = own + 0.25
    for dropout, expected in ((None, own), (other, other)):
        model, _ = mbart.build(LanguageConfig(pretrained=str(folder), dropout=dropout), TEXTS, ["de"])
        layers = [*model.model.encoder.layers, *model.model.decoder.layers]
        assert {layer.dropout for layer in layers} == {model.config.dropout} == {expected}
    assert mbart.build(LanguageConfig(layers=1), TEXTS, ["de"])[0].config.dropout == 0.1


def test_a_model_is_rebuilt_from_its_architecture(folder):
    model, vocabulary = mbart.build(LanguageConfig(pretrained=str(folder), decoder_layers=1), TEXTS[:3], ["de"])
    architecture = json.loads(json.dumps(mbart.architecture(model)))
    again = mbart.from_architecture(architecture)
    again.load_state_dict(model.state_dict())
    assert logits(again, vocabulary, TEXTS[:3]).equal(logits(model, vocabulary, TEXTS[:3]))
    assert mbart.is_trained(again) and again.config._attn_implementation == "sdpa"


def test_a_shorter_decoder_keeps_its_first_layers(folder):
    model, _ = mbart.build(LanguageConfig(pretrained=str(folder), decoder_layers=1), TEXTS, ["de"])
    whole, _ = mbart.load(folder)
    assert len(model.model.decoder.layers) == model.config.decoder_layers == 1
    assert model.model.decoder.layers[0].fc1.weight.equal(whole.model.decoder.layers[0].fc1.weight)
    assert len(model.model.encoder.layers) == 2


def test_a_reinitialized_decoder_keeps_embeddings_and_is_not_trained(folder):
    torch.manual_seed(5)
    model, _ = mbart.build(LanguageConfig(pretrained=str(folder), random_decoder=True, trim=False), TEXTS, ["de"])
    whole, _ = mbart.load(folder)
    for name, layer in model.model.decoder.layers[0].named_parameters():
        if name.endswith("proj.weight") or ("fc" in name and name.endswith("weight")):
            other = whole.model.decoder.layers[0].get_parameter(name)
            assert not layer.equal(other) and float(layer.detach().std()) == pytest.approx(0.02, rel=0.4)
    assert model.model.shared.weight.equal(whole.model.shared.weight)
    assert model.model.encoder.layers[0].fc1.weight.equal(whole.model.encoder.layers[0].fc1.weight)
    assert mbart.is_trained(model) and not mbart.is_trained(model, "decoder")


def test_generation_with_a_shorter_decoder(folder):
    model, vocabulary = mbart.build(LanguageConfig(pretrained=str(folder), decoder_layers=1), TEXTS, ["de"])
    ids, mask = vocabulary.encode(TEXTS[:3], "de")
    arguments = {"input_ids": ids, "attention_mask": mask, "max_new_tokens": 8, "do_sample": False}
    cached, plain = (model.eval().generate(**arguments, num_beams=1, use_cache=cache) for cache in (True, False))
    assert cached.equal(plain)


def write_t5(path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(sizes).save_pretrained(path)


@pytest.mark.parametrize("name", ["runs/no_such/model", "/no/such", "nowhere"])
def test_a_missing_model_is_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"no language model at .*mbart_") as caught:
        mbart.load(name)
    assert "\n" not in str(caught.value)


def test_another_architecture_is_one_line(tmp_path):
    write_t5(tmp_path)
    with pytest.raises(ModelError, match="type 't5': give an mBART") as caught:
        mbart.load(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="type 't5', not mBART"):
        mbart.from_architecture({"model_type": "t5"})


def test_invalid_configurations_are_one_line(folder):
    with pytest.raises(ModelError, match="decoder_layers is 9, the decoder has 2"):
        mbart.build(LanguageConfig(pretrained=str(folder), decoder_layers=9), TEXTS, ["de"])
    with pytest.raises(TextError, match="does not know language 'fr'"):
        mbart.build(LanguageConfig(pretrained=str(folder)), TEXTS, ["fr"])
    with pytest.raises(ModelError, match="damaged"):
        mbart.from_architecture({"model_type": "mbart", "d_model": "wide"})


@pytest.mark.parametrize("damage", ["cut", "missing_weight", "other_vocabulary", "no_weights"])
def test_a_damaged_folder_is_one_line(folder, tmp_path, damage):
    from safetensors.torch import load_file, save_file

    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "no_weights":
        weights.unlink()
    else:
        state = load_file(weights)
        if damage == "missing_weight":
            state.pop("model.encoder.layers.0.fc1.weight")
        save_file(state, weights, {"format": "pt"})
        if damage == "other_vocabulary":
            parts = json.loads((tmp_path / "tokenizer.json").read_text())
            parts["model"]["vocab"] += [["neu", -3.0]]
            (tmp_path / "tokenizer.json").write_text(json.dumps(parts))
    with pytest.raises(ModelError) as caught:
        mbart.load(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
