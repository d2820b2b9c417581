"""LoRA adapters: initially without effect, alone trainable, merged and saved; refused over random weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from signatlas.errors import ModelError
from signatlas.models.language_model.config import LoraSettings
from signatlas.models.language_model.lora import add_lora, count_trainable, merge


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.v_proj(self.k_proj(self.q_proj(x)).tanh()))


def stack() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Attention(), Attention()).eval()


def with_trained_adapters(module: nn.Module) -> nn.Module:
    """Set B, which is zero initially, to values as training does."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return module


SETTINGS = LoraSettings(rank=4, alpha=8)


def test_new_adapters_change_nothing():
    module, x = stack(), torch.randn(3, 8)
    before = module(x)
    assert add_lora(module, SETTINGS, trained=True) == 4, "q_proj and v_proj of two layers"
    assert module(x).equal(before)
    assert all((p == 0).all() for n, p in module.named_parameters() if "lora_B" in n)


def test_the_formula():
    """y = W x + (alpha / rank) B A x."""
    module, x = stack(), torch.randn(3, 8)
    plain = module[0].q_proj(x)
    add_lora(module, SETTINGS, trained=True)
    with_trained_adapters(module)
    layer = module[0].q_proj
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    torch.testing.assert_close(layer(x), plain + 2.0 * x @ a.T @ b.T)


def test_the_papers_rank_and_alpha_scale_by_two():
    module = stack()
    add_lora(module, LoraSettings(), trained=True)
    assert module[0].q_proj.scaling["default"] == 2.0


def test_only_adapters_are_trained():
    module = stack()
    add_lora(module, SETTINGS, trained=True)
    module(torch.randn(3, 8)).square().sum().backward()
    trained = {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in module.named_parameters() if "lora_" in name}
    assert count_trainable(module) == 4 * (8 * 4 + 4 * 8)
    with_trained_adapters(module)(torch.randn(3, 8)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in module.named_parameters() if name in trained)


def test_merging_keeps_the_outputs_and_leaves_plain_layers():
    module, x = stack(), torch.randn(3, 8)
    names = set(module.state_dict())
    before = module(x)
    add_lora(module, SETTINGS, trained=True)
    adapted = with_trained_adapters(module)(x)
    assert not torch.allclose(adapted, before)
    assert merge(module) == 4
    torch.testing.assert_close(module(x), adapted)
    assert set(module.state_dict()) == names and type(module[0].q_proj) is nn.Linear
    assert merge(module) == 0


def test_weights_are_saved_and_loaded():
    module, x = stack(), torch.randn(3, 8)
    add_lora(module, SETTINGS, trained=True)
    other = stack()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    add_lora(other, SETTINGS, trained=True)
    other.load_state_dict(with_trained_adapters(module).state_dict())
    assert other(x).equal(module(x))


def test_random_weights_are_refused_unless_forced():
    with pytest.raises(ModelError, match="noise") as caught:
        add_lora(stack(), SETTINGS, trained=False)
    assert "recipes/mbart_" in str(caught.value) and "model.lora.force=true" in str(caught.value)
    assert add_lora(stack(), LoraSettings(rank=2, force=True), trained=False) == 4


@pytest.mark.parametrize(
    ("names", "message"), [(("q_prj",), "did you mean q_proj"), (("q_proj", "query_layer"), "'query_layer'"),
                        (("norm",), "'norm'")]
)  # fmt: skip
def test_names_that_match_nothing_are_one_line(names, message):
    module = stack()
    with pytest.raises(ModelError) as caught:
        add_lora(module, LoraSettings(modules=names), trained=True)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert all(p.requires_grad for p in module.parameters()), "the module is unchanged"


def test_adapters_are_not_added_twice():
    module = stack()
    add_lora(module, SETTINGS, trained=True)
    with pytest.raises(ModelError, match="already"):
        add_lora(module, SETTINGS, trained=True)


def test_dropout_applies_in_training_only():
    module, x = stack(), torch.ones(3, 8)
    add_lora(module, LoraSettings(rank=4, alpha=8, dropout=0.5), trained=True)
    with_trained_adapters(module).eval()
    assert module(x).equal(module(x))
    module.train()
    torch.manual_seed(0)
    assert not module(x).equal(module(x))
