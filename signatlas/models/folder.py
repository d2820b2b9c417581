"""Models as folders: config.json, model.safetensors, README.md. Loaded from disk or the Hub, never unpickled."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signatlas.errors import ModelError
from signatlas.files import folder_atomically

if TYPE_CHECKING:
    import torch
    from torch import nn

WEIGHTS = "model.safetensors"
# What a model folder may hold; text/ and sign_encoders/ belong to dual encoders.
FILES = ["config.json", WEIGHTS, "README.md", "text/*", "sign_encoders/*"]


def save(
    folder: str | os.PathLike[str],
    model: nn.Module,
    config: dict[str, Any],
    card: str,
    state: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write a model folder in one step, replacing an older one. ``state`` replaces the model's own weights."""
    from safetensors.torch import save_file

    weights = model.state_dict() if state is None else state
    state = {name: tensor.detach().float().cpu().contiguous() for name, tensor in weights.items()}
    with folder_atomically(folder, overwrite=True) as partial:
        (partial / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        save_file(state, partial / WEIGHTS)
        (partial / "README.md").write_text(card, encoding="utf-8")


def locate(name: str | os.PathLike[str]) -> Path:
    """The local folder of a model: a path, or the name of a Hub repository, which is fetched once.

    Raises ModelError when there is neither.
    """
    path = Path(name)
    if path.is_dir():
        missing = [f for f in ("config.json", WEIGHTS) if not (path / f).is_file()]
        if missing:
            raise ModelError(f"{path} is not a model folder: {' and '.join(missing)} missing; name the 'model' folder")
        return path
    text = os.fspath(name)
    if text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise ModelError(f"no model at {text}: train one with 'signatlas train RECIPE'")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(text, allow_patterns=FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise ModelError(f"no model at {text}: not a folder, and the Hub does not give it") from error


def read_config(folder: Path) -> dict[str, Any]:
    """The content of config.json. Raises ModelError when it is damaged."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{folder}/config.json is damaged: {error}") from error
    return config


def load_weights(folder: Path, model: nn.Module) -> None:
    """Fill ``model`` from model.safetensors. Raises ModelError when it is damaged or of another architecture."""
    fill(folder, model, read_weights(folder))


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of model.safetensors. Raises ModelError when it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise ModelError(f"{folder}/{WEIGHTS} is damaged: {error}") from error


def fill(folder: Path, model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Put the weights of ``folder`` into ``model``. Raises ModelError when they are of another architecture."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"{folder}: weights do not fit config.json: {str(error).splitlines()[0]}") from error
