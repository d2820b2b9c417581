"""The dual encoder: padding, batches, CLIP's trunk from a folder, saving, invalid folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from signatlas.errors import FeatureError, ModelError
from signatlas.models.dual_encoder.config import DualEncoderConfig
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.models.dual_encoder.sign_transformer import SignTransformer
from signatlas.similarity import concatenate, fine_grained

TEXTS = ["morgen regen im norden", "sonne", "kalt und windig am abend"]
SIZES = {"width": 32, "depth": 1, "heads": 2, "feedforward": 32}


def config_of(**changes) -> DualEncoderConfig:
    settings = {"sign": {"max_windows": 9, **SIZES}, "text": {"max_tokens": 12, **SIZES}, "embedding": 16}
    return DualEncoderConfig(**{name: {**settings.get(name, {}), **value} if isinstance(value, dict) else value
                                for name, value in {**settings, **changes}.items()})  # fmt: skip


@pytest.fixture(scope="module")
def model() -> DualEncoder:
    torch.manual_seed(0)
    return DualEncoder.build(config_of(), TEXTS, 10).eval()


def features(lengths, width=10, longest=9, seed=0):
    values = np.random.default_rng(seed).normal(size=(len(lengths), longest, width)).astype(np.float32)
    mask = np.arange(longest)[None] < np.array(lengths)[:, None]
    return np.where(mask[..., None], values, 0).astype(np.float32), mask


def test_padding_and_other_rows_have_no_influence(model):
    values, mask = features([9, 4, 1])
    together = model.embed_features([(values, mask)])
    alone = model.embed_features([(values[1:2, :4], mask[1:2, :4])])
    torch.testing.assert_close(together.tokens[1, :4], alone.tokens[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.cls[1], alone.cls[0], rtol=1e-4, atol=1e-5)
    texts, one = model.embed_texts(TEXTS), model.embed_texts(TEXTS[1:2])
    length = int(one.mask.sum())
    torch.testing.assert_close(texts.tokens[1, :length], one.tokens[0, :length], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.score(together, texts)[1, 1], model.score(alone, one)[0, 0], rtol=1e-4, atol=1e-5)


def test_the_score_mixes_both_directions(model):
    signs, texts = model.embed_features([features([9, 4, 1])]), model.embed_texts(TEXTS)
    to_text, to_video = fine_grained(signs.tokens, texts.tokens, signs.mask, texts.mask)
    torch.testing.assert_close(model.score(signs, texts), (to_text + to_video) / 2)


@pytest.mark.parametrize("kind", ["fine_grained", "cls", "mean"])
def test_pooled_vectors_have_length_one(kind):
    model = DualEncoder.build(config_of(similarity={"kind": kind}), TEXTS, 10)
    vectors = model.pooled(model.embed_texts(TEXTS))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    if kind != "fine_grained":
        signs, texts = model.embed_features([features([9, 4, 1])]), model.embed_texts(TEXTS)
        torch.testing.assert_close(model.score(signs, texts), model.pooled(signs) @ model.pooled(texts).T)


def test_a_saved_model_is_the_same(model, tmp_path):
    model.record = {"recipe": "x"}
    model.save_pretrained(tmp_path / "model", "card")
    again = DualEncoder.from_pretrained(tmp_path / "model")
    assert again.record == {"recipe": "x"}
    assert not again.training
    for a, b in zip(model.embed_texts(TEXTS), again.embed_texts(TEXTS), strict=True):
        torch.testing.assert_close(a, b)


def test_batches_of_two_lengths_are_concatenated(model):
    parts = [model.embed_features([features(lengths, longest=max(lengths))]) for lengths in ([2], [7, 3])]
    whole = concatenate(parts)
    assert whole.tokens.shape == (3, 7, 16)
    assert whole.mask.sum(1).tolist() == [2, 7, 3]


def test_order_matters_to_the_trunk():
    torch.manual_seed(0)
    trunk = SignTransformer(config_of().sign, 10).double()
    x, mask = torch.randn(1, 5, 10, dtype=torch.float64), torch.ones(1, 5, dtype=torch.bool)
    assert (trunk(x, mask)[1] - trunk(x.flip(1), mask)[1]).abs().max() > 1e-4


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory) -> Path:
    """A small CLIP as transformers saves it, with a tokenizer trained on the texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from tokenizers.processors import TemplateProcessing
    from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("clip")
    marks = ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = Tokenizer(models.BPE(unk_token=marks[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(special_tokens=marks, vocab_size=80))
    tokenizer.post_processor = TemplateProcessing(
        single=f"{marks[0]} $A {marks[1]}", special_tokens=[(mark, n) for n, mark in enumerate(marks)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=marks[0], eos_token=marks[1], pad_token=marks[1], unk_token=marks[1]
    ).save_pretrained(folder)
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "projection_dim": 16}
    text = {"vocab_size": 80, "hidden_size": 24, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, **sizes}
    vision = {"hidden_size": 32, "image_size": 32, "patch_size": 16, **sizes}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    CLIPModel(config).save_pretrained(folder)
    return folder


def test_clip_gives_trunk_and_projections(clip_folder, tmp_path):
    from transformers import CLIPModel

    config = config_of(sign={"pretrained": str(clip_folder)}, text={"kind": "clip", "name": str(clip_folder)})
    model, released = DualEncoder.build(config, TEXTS, 10), CLIPModel.from_pretrained(clip_folder)
    weights = released.vision_model.encoder.layers[0].mlp.fc1.weight
    torch.testing.assert_close(model.sign.encoder.layers[0].mlp.fc1.weight, weights)
    torch.testing.assert_close(model.sign_head.weight, released.visual_projection.weight)
    torch.testing.assert_close(model.text_head.weight, released.text_projection.weight)
    model.save_pretrained(tmp_path / "model")
    again = DualEncoder.from_pretrained(tmp_path / "model")
    assert again.config.sign.pretrained is None, "a saved model needs no Hub"
    signs = [m.eval().embed_features([features([9, 2])]).tokens for m in (model, again)]
    torch.testing.assert_close(*signs)
    torch.testing.assert_close(model.embed_texts(TEXTS).tokens, again.embed_texts(TEXTS).tokens)


def test_mistakes_are_one_line(model, tmp_path, small_model):
    with pytest.raises(FeatureError, match="width 7, the model takes 10"):
        model.embed_features([features([3], width=7)])
    with pytest.raises(ModelError, match="not a dual encoder"):
        DualEncoder.from_pretrained(small_model)
    with pytest.raises(ModelError, match="no CLIP vision model at"):
        DualEncoder.build(config_of(sign={"pretrained": str(tmp_path)}), TEXTS, 10)
