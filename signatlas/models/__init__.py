"""Models of signs, sentences and translation, each a folder that :func:`load` reads."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signatlas.models.dual_encoder.config import DualEncoderConfig
    from signatlas.models.dual_encoder.encoder import DualEncoder
    from signatlas.models.language_model.mbart import LanguageModel
    from signatlas.models.registry import load, model_type
    from signatlas.models.sign_classifier import SignClassifier
    from signatlas.models.sign_encoder import SignEncoder, SignEncoderConfig
    from signatlas.models.translator.config import TranslatorConfig
    from signatlas.models.translator.translator import Translator

__all__ = [
    "DualEncoder",
    "DualEncoderConfig",
    "LanguageModel",
    "SignClassifier",
    "SignEncoder",
    "SignEncoderConfig",
    "Translator",
    "TranslatorConfig",
    "load",
    "model_type",
]

_MODULES = {
    "DualEncoder": "dual_encoder.encoder",
    "DualEncoderConfig": "dual_encoder.config",
    "LanguageModel": "language_model.mbart",
    "SignClassifier": "sign_classifier",
    "SignEncoder": "sign_encoder",
    "SignEncoderConfig": "sign_encoder",
    "Translator": "translator.translator",
    "TranslatorConfig": "translator.config",
    "load": "registry",
    "model_type": "registry",
}


def __getattr__(name: str) -> Any:
    """Import a model's module, and torch or transformers with it, only when one of its names is used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
