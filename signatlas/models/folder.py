"""Model folders: config.json, model.safetensors, README.md; loaded from disk or the Hub, never unpickled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from signatlas.errors import ModelError
from signatlas.files import folder_atomically

if TYPE_CHECKING:
    import torch
    from torch import nn

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
# Files of a model folder; text/ and sign_encoders/ belong to models of sentences.
FILES = [CONFIG, WEIGHTS, CARD, "text/*", "sign_encoders/*"]

Config = TypeVar("Config", bound=BaseModel)


def save(
    folder: str | os.PathLike[str],
    model: nn.Module,
    config: Mapping[str, Any],
    card: str,
    state: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a model folder atomically, replacing an older one. ``state`` replaces the model's own weights."""
    from safetensors.torch import save_file

    weights = model.state_dict() if state is None else state
    tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in weights.items()}
    with folder_atomically(folder, overwrite=True) as partial:
        (partial / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        save_file(tensors, partial / WEIGHTS)
        (partial / CARD).write_text(card, encoding="utf-8")


def locate(name: str | os.PathLike[str]) -> Path:
    """Return the local folder of a model: a path, or the name of a Hub repository, which is downloaded once.

    Raises ModelError when there is neither.
    """
    path = Path(name)
    if path.is_dir():
        missing = [f for f in (CONFIG, WEIGHTS) if not (path / f).is_file()]
        if missing:
            raise ModelError(
                f"{path} is not a model folder: {' and '.join(missing)} missing; give the folder 'model' of a run"
            )
        return path
    text = os.fspath(name)
    if text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise ModelError(f"no model at {text}: train one with 'signatlas train RECIPE'")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(text, allow_patterns=FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise ModelError(f"no model at {text}: it is not a folder and cannot be loaded from the Hub") from error


def read_config(folder: Path) -> Any:
    """Return the content of config.json. Raises ModelError when it is not JSON."""
    try:
        return json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{folder / CONFIG} is damaged: {error}") from error


def parse_config(folder: Path, kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Return values of config.json as a configuration.

    Raises ModelError for invalid values, and for the keys of another version of signatlas.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"unknown key '{key}': written by another version of signatlas, train the model again"
        else:
            message = f"{key}: {reason}" if key else reason
        raise ModelError(f"{folder / CONFIG}: {message}") from error


def load_weights(folder: Path, model: nn.Module) -> None:
    """Fill ``model`` from model.safetensors. Raises ModelError when it is damaged or of another architecture."""
    fill(folder, model, read_weights(folder))


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of model.safetensors. Raises ModelError when it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise ModelError(f"{folder / WEIGHTS} is damaged: {error}") from error


def fill(folder: Path, model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Load weights of ``folder`` into ``model``. Raises ModelError when they are of another architecture."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"{folder}: weights do not fit {CONFIG}: {str(error).splitlines()[0]}") from error
