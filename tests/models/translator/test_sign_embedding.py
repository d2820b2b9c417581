"""The sign embedding over its three backbones: shapes, padding, freezing, saving, precision."""

from __future__ import annotations

import pytest
import torch

from signatlas.errors import ModelError
from signatlas.models.translator.backbones import Fp32BatchNorm2d
from signatlas.models.translator.config import BackboneConfig, ResNetSizes, SignEmbeddingConfig
from signatlas.models.translator.sign_embedding import SignEmbedding

TINY = ResNetSizes(embedding=4, hidden=(4, 8), depths=(1, 1))
MASK = torch.arange(12)[None] < torch.tensor([[12], [5], [8]])


def embedding(kind: str, blocks: int = 2, **backbone) -> SignEmbedding:
    torch.manual_seed(0)
    settings = {"sizes": TINY, "size": 32, "chunk": 4, "width": 24} | backbone
    config = SignEmbeddingConfig(backbone=BackboneConfig(kind=kind, **settings), width=16, blocks=blocks)
    return SignEmbedding(config, 10 if kind == "features" else None)


def inputs(kind: str) -> torch.Tensor:
    torch.manual_seed(1)
    if kind == "resnet":
        return torch.randint(0, 256, (3, 12, 3, 32, 32), dtype=torch.uint8)
    return torch.randn(3, 12, 10 if kind == "features" else 335)


@pytest.mark.parametrize("kind", ["features", "pose", "resnet"])
@pytest.mark.parametrize("blocks", [0, 2])
def test_tokens_of_a_clip_do_not_depend_on_its_batch(kind, blocks):
    model, x = embedding(kind, blocks).eval(), inputs(kind)
    tokens, mask = model(x, MASK)
    assert tokens.shape == (3, model.output_length(12), model.width)
    other = x.clone()
    other[~MASK] = 77 if kind == "resnet" else float("nan")
    assert torch.equal(model(other, MASK)[0], tokens)
    for row, n in enumerate(MASK.sum(1).tolist()):
        alone, _ = model(x[row : row + 1, :n], MASK[row : row + 1, :n])
        assert alone.shape[1] == int(mask[row].sum()) == model.output_length(n)
        torch.testing.assert_close(tokens[row, : alone.shape[1]], alone[0], rtol=1e-4, atol=1e-5)
        assert (tokens[row, alone.shape[1] :] == 0).all()


@pytest.mark.parametrize("kind", ["features", "pose", "resnet"])
def test_every_parameter_has_a_gradient_in_fp32_and_bf16(kind):
    for dtype in (torch.float32, torch.bfloat16):
        model = embedding(kind).to(dtype)
        tokens, _ = model(inputs(kind), MASK)
        assert tokens.dtype == dtype
        tokens.float().square().sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert all(b.dtype != torch.bfloat16 for b in model.buffers()), "running statistics stay fp32"


def test_images_in_chunks_have_the_gradients_of_one_pass():
    """With fixed statistics: in training, those of BatchNorm are of one chunk."""
    results = []
    for chunk in (3, 64):
        model = embedding("resnet", chunk=chunk).double()
        model.backbone.eval()
        tokens, _ = model(inputs("resnet"), MASK)
        tokens.square().sum().backward()
        results.append([tokens, *[p.grad for p in model.parameters()]])
    for some, whole in zip(*results, strict=True):
        torch.testing.assert_close(some, whole, rtol=1e-6, atol=1e-8)


def test_recomputed_images_update_the_running_statistics_once():
    model, x = embedding("resnet", chunk=64), inputs("resnet")
    layers = [m for m in model.modules() if isinstance(m, Fp32BatchNorm2d)]
    tokens, _ = model(x, MASK)
    before = [m.running_var.clone() for m in layers]
    assert any((b != 1).any() for b in before), "training updates them"
    tokens.sum().backward()
    assert all(torch.equal(m.running_var, b) for m, b in zip(layers, before, strict=True))


def test_a_frozen_backbone_does_not_change_in_training():
    model = embedding("resnet", frozen=True).train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    tokens, _ = model(inputs("resnet"), MASK)
    tokens.square().sum().backward()
    assert not any(p.requires_grad for p in model.backbone.parameters())
    assert all(p.grad is not None for p in model.convolution.parameters())
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_model_with_a_pretrained_resnet_loads_without_it(tmp_path):
    source = embedding("resnet")
    source.backbone(inputs("resnet"), MASK)  # running statistics of its own
    source.backbone.model.save_pretrained(tmp_path / "resnet")
    backbone = BackboneConfig(kind="resnet", pretrained=str(tmp_path / "resnet"), size=32, chunk=4)
    loaded = SignEmbedding(SignEmbeddingConfig(backbone=backbone, width=16), load_pretrained=True).eval()
    assert loaded.config.backbone.sizes == TINY
    x = inputs("resnet")
    assert torch.equal(loaded.backbone(x, MASK), source.eval().backbone(x, MASK))
    config = SignEmbeddingConfig.model_validate_json(loaded.config.model_dump_json())
    (tmp_path / "resnet").rename(tmp_path / "gone")
    again = SignEmbedding(config).eval()
    again.load_state_dict(loaded.state_dict())
    assert torch.equal(again(x, MASK)[0], loaded(x, MASK)[0])


def test_a_resnet_of_default_sizes_is_resnet_18():
    model = SignEmbedding(SignEmbeddingConfig(backbone=BackboneConfig(kind="resnet"), width=1024, padding="valid"))
    assert model.backbone.width == 512 and model.width == 1024
    assert sum(p.numel() for p in model.backbone.parameters()) == 11_176_512  # torchvision's without its classifier
    assert model.output_length(100) == 22


@pytest.mark.parametrize("folder", ["nothing", "bert"])
def test_other_models_than_a_resnet_are_one_line(tmp_path, folder):
    from transformers import BertConfig, BertModel

    if folder == "bert":
        BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
                             vocab_size=10)).save_pretrained(tmp_path / folder)  # fmt: skip
    backbone = BackboneConfig(kind="resnet", pretrained=str(tmp_path / folder))
    with pytest.raises(ModelError) as error:
        SignEmbedding(SignEmbeddingConfig(backbone=backbone), load_pretrained=True)
    assert str(tmp_path / folder) in str(error.value) and "\n" not in str(error.value)


def test_clip_features_of_unknown_width_are_refused():
    with pytest.raises(ModelError, match=r"backbone\.features"):
        SignEmbedding(SignEmbeddingConfig())
    assert SignEmbedding(SignEmbeddingConfig(backbone=BackboneConfig(features=7))).backbone.linear.in_features == 7
