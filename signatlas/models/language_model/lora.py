"""Low-rank adapters (LoRA, Hu et al. 2021, through peft) in the linear layers of a module."""

from __future__ import annotations

import difflib

from torch import nn

from signatlas.errors import ModelError
from signatlas.models.language_model.config import LoraSettings


def add_lora(module: nn.Module, settings: LoraSettings, *, trained: bool) -> int:
    """Freeze ``module``, add adapters to its layers in place, and return the number of layers with an adapter.

    y = W x + (alpha / rank) B A x, with B zero at the start: at first nothing changes. ``trained`` says whether the
    frozen weights were ever trained. Raises ModelError when they were not (unless ``settings.force``), or when a name
    matches no linear layer.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    if not trained and not settings.force:
        raise ModelError(
            "LoRA over random weights is noise: pretrain with recipes/mbart_*.yaml, or --set model.lora.force=true"
        )
    if any(isinstance(layer, LoraLayer) for layer in module.modules()):
        raise ModelError("the model already has LoRA adapters: merge them first")
    _check_names(module, settings.modules)
    inject_adapter_in_model(
        LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,  # type: ignore[arg-type]  # a float scales as well
            lora_dropout=settings.dropout,
            target_modules=list(settings.modules),
        ),
        module,
    )
    for name, parameter in module.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return sum(isinstance(layer, LoraLayer) for layer in module.modules())


def merge(module: nn.Module) -> int:
    """Merge the adapters into the weights they adapt, in place, and return their number; plain layers remain."""
    from peft.tuners.lora import LoraLayer

    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, LoraLayer)]
    for name, layer in layers:
        layer.merge()
        parent, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(parent), attribute, layer.get_base_layer())
    return len(layers)


def count_trainable(module: nn.Module) -> int:
    """Return the number of trainable parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _check_names(module: nn.Module, names: tuple[str, ...]) -> None:
    linear = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    for target in names:
        if any(name == target or name.endswith("." + target) for name in linear):
            continue
        available = sorted({name.rpartition(".")[2] for name in linear})
        similar = difflib.get_close_matches(target, available, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(similar)}?" if similar else f"available: {', '.join(available) or 'none'}"
        raise ModelError(f"model.lora.modules: no linear layer is called '{target}'; {hint}")
