"""Model types: the one table that maps a model folder's type to the class that loads it."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

from signatlas.errors import ModelError
from signatlas.models import folder

SIGN_ENCODER = "signatlas.sign_encoder"
SIGN_CLASSIFIER = "signatlas.sign_classifier"
DUAL_ENCODER = "signatlas.dual_encoder"
TRANSLATOR = "signatlas.translator"
LANGUAGE_MODEL = "mbart"  # as transformers writes it

Model = TypeVar("Model")


class ModelEntry(NamedTuple):
    """A row of the table: the words for the model in messages, and its class as "module:name"."""

    description: str
    target: str

    def load_class(self) -> Any:
        """Import the class; some of them need transformers, which takes seconds."""
        module, name = self.target.split(":")
        return getattr(importlib.import_module(module), name)


MODELS = {
    SIGN_ENCODER: ModelEntry("a sign encoder", "signatlas.models.sign_encoder:SignEncoder"),
    SIGN_CLASSIFIER: ModelEntry("a sign classifier", "signatlas.models.sign_classifier:SignClassifier"),
    DUAL_ENCODER: ModelEntry("a dual encoder", "signatlas.models.dual_encoder.encoder:DualEncoder"),
    TRANSLATOR: ModelEntry("a translator", "signatlas.models.translator.translator:Translator"),
    LANGUAGE_MODEL: ModelEntry("an mBART language model", "signatlas.models.language_model.mbart:LanguageModel"),
}


def model_type(name: str | os.PathLike[str]) -> str:
    """Return the type of a model folder or Hub model, a key of ``MODELS``, without loading its weights.

    Raises ModelError when there is no model, or when its type is missing or unknown.
    """
    path = folder.locate(name)
    return _known_type(path, folder.read_config(path))


def describe(name: str | os.PathLike[str]) -> str:
    """Return the words for the type of a model, such as "a sign encoder". Raises ModelError."""
    return MODELS[model_type(name)].description


@overload
def load(name: str | os.PathLike[str]) -> Any: ...
@overload
def load(name: str | os.PathLike[str], expected: type[Model]) -> Model: ...


def load(name: str | os.PathLike[str], expected: type[Any] | None = None) -> Any:
    """Load the model in a folder or of the Hub, in evaluation mode, as the class that its config.json names.

    Raises ModelError when there is no model, its files are damaged, or its class is not ``expected``.
    """
    entry = MODELS[model_type(name)]
    cls = entry.load_class()
    if expected is not None and not issubclass(cls, expected):
        descriptions = {e.target.split(":")[1]: e.description for e in MODELS.values()}
        raise _wrong_type(name, entry.description, descriptions.get(expected.__name__, expected.__name__))
    return cls.from_pretrained(name)


def read_config(name: str | os.PathLike[str], expected: str) -> tuple[Path, dict[str, Any]]:
    """Return the local folder of a model and its config.json without the type, which must be ``expected``.

    Raises ModelError.
    """
    path = folder.locate(name)
    config = folder.read_config(path)
    actual = _known_type(path, config)
    if actual != expected:
        raise _wrong_type(path, MODELS[actual].description, MODELS[expected].description)
    config.pop("model_type")
    return path, config


def _known_type(path: Path, config: Any) -> str:
    name = config.get("model_type") if isinstance(config, dict) else None
    if name is None:
        raise ModelError(f"{path}/config.json has no model_type: give a model folder that signatlas wrote")
    if not isinstance(name, str) or name not in MODELS:
        raise ModelError(f"{path}/config.json has the unknown model_type {name!r}: supported are {', '.join(MODELS)}")
    return name


def _wrong_type(name: str | os.PathLike[str], actual: str, expected: str) -> ModelError:
    return ModelError(f"{os.fspath(name)} is {actual}, not {expected}: give {expected}")
