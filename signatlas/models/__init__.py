"""Models of signs, sentences and translation, each a folder that :func:`load` reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signatlas.lazy import lazy_exports

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

_TARGETS = {
    "DualEncoder": ("dual_encoder.encoder", "DualEncoder"),
    "DualEncoderConfig": ("dual_encoder.config", "DualEncoderConfig"),
    "LanguageModel": ("language_model.mbart", "LanguageModel"),
    "SignClassifier": ("sign_classifier", "SignClassifier"),
    "SignEncoder": ("sign_encoder", "SignEncoder"),
    "SignEncoderConfig": ("sign_encoder", "SignEncoderConfig"),
    "Translator": ("translator.translator", "Translator"),
    "TranslatorConfig": ("translator.config", "TranslatorConfig"),
    "load": ("registry", "load"),
    "model_type": ("registry", "model_type"),
}

__getattr__ = lazy_exports(__name__, _TARGETS)
