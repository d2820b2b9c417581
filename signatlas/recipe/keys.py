"""Recipe keys: present names of renamed keys, and suggestions for misspelled ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

# Former keys, by the present name of their block; None: removed.
RENAMED: dict[str, str | None] = {
    "optimiser": "optimizer",
    "optimizer.clip": "max_grad_norm",
    "optimizer.warmup": "warmup_ratio",
    "optimizer.zero": "zero_stage",
    "optimizer.accumulation": "gradient_accumulation_steps",
    "optimizer.checkpointing": "gradient_checkpointing",
    "select": "checkpoint_selection",
    "checkpoint_selection.every": "evaluate_every",
    "selection": "negative_selection",
    "negative_selection.epochs": "reference_epochs",
    "negative_selection.every": "keep_every",
    "negative_selection.pool": "pool_size",
    "smoothing": "label_smoothing",
    "loss.name": None,
    "loss.chunk": "gradcache_chunk",
    "loss.identical": "identical_texts",
    "loss.near": "duplicate_threshold",
    "loss.queue": "queue_size",
    "alignment.identical": "identical_texts",
    "alignment.weight": "contrast_weight",
    "alignment.translation": "translation_weight",
    "masked_language.every": "every_steps",
    "masked_language.share": "mask_ratio",
    "noise.share": "mask_ratio",
    "noise.poisson": "poisson_lambda",
    "noise.permute": "permute_sentences",
    "noise.pack": "max_texts",
    "data.sentences": "epoch_over",
    "data.bucket": "bucket_batches",
    "sign.max_clips": "max_windows",
    "model.architecture": None,
    "start": "init_from",
}


def renamed(path: str) -> str | None:
    """Return the present name of a former key, '' for a removed one, None for any other key.

    >>> renamed("alignment.optimiser.clip")
    'alignment.optimizer.max_grad_norm'
    """
    parts: list[str] = []
    for part in path.split("."):
        former = f"{parts[-1]}.{part}" if parts else part
        name = RENAMED.get(former, RENAMED.get(part, part))
        if name is None:
            return ""
        parts.append(name)
    present = ".".join(parts)
    return None if present == path else present


def hint(path: str, model: type[BaseModel]) -> str:
    """Return a hint on the unknown key at a dotted path, to append to a message: its present name, or a similar key."""
    present = renamed(path)
    if present:
        return f": it is now '{present}'"
    if present == "":
        return ": it was removed, delete it"
    near = difflib.get_close_matches(path.rpartition(".")[2], _keys(model), n=1)
    return f", did you mean '{near[0]}'?" if near else ""


def has_former_keys(settings: Any, path: str = "") -> bool:
    """Return whether settings, as read from YAML, use keys that are renamed or removed."""
    if not isinstance(settings, dict):
        return False
    for key, value in settings.items():
        inner = f"{path}.{key}" if path else str(key)
        if renamed(inner) is not None or has_former_keys(value, inner):
            return True
    return False


def _keys(model: type[BaseModel]) -> Iterator[str]:
    """Yield the keys of a model at any depth."""
    for name, field in model.model_fields.items():
        yield name
        for annotation in (field.annotation, *get_args(field.annotation)):
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                yield from _keys(annotation)
