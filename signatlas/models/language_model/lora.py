"""Low-rank adapters (LoRA, Hu et al. 2021, through peft) in the linear layers of a part of a model."""

from __future__ import annotations

import difflib

from torch import nn

from signatlas.errors import ModelError
from signatlas.models.language_model.config import LoraSettings


def add_lora(module: nn.Module, settings: LoraSettings, *, trained: bool) -> int:
    """Freeze ``module`` and add adapters to its layers, in place; returns how many layers have one.

    y = W x + (alpha / rank) B A x, with B zero at the start: at first nothing changes. ``trained`` says whether the
    weights underneath were ever trained. Raises ModelError when they were not (unless ``settings.force``), or when a
    name matches no linear layer.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    if not trained and not settings.force:
        raise ModelError(
            "LoRA over random weights is noise: pretrain with recipes/mbart_*.yaml, or --set model.lora.force=true"
        )
    if any(isinstance(layer, LoraLayer) for layer in module.modules()):
        raise ModelError("the model has LoRA adapters already: merge them first")
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
    """Add the adapters into the weights they adapt and leave plain layers behind, in place; returns how many."""
    from peft.tuners.lora import LoraLayer

    found = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, LoraLayer)]
    for name, layer in found:
        layer.merge()
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, layer.get_base_layer())
    return len(found)


def trainable(module: nn.Module) -> int:
    """How many numbers of a module learn."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _check_names(module: nn.Module, wanted: tuple[str, ...]) -> None:
    linear = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    for target in wanted:
        if any(name == target or name.endswith("." + target) for name in linear):
            continue
        there = sorted({name.rpartition(".")[2] for name in linear})
        near = difflib.get_close_matches(target, there, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(there) or 'none'}"
        raise ModelError(f"model.lora.modules: no linear layer is called '{target}'; {hint}")
