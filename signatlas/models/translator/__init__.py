"""The translator (SCL-SLT, GFSLT-VLP): sign embedding, mBART, and their inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signatlas.models.translator.config import TranslatorConfig
    from signatlas.models.translator.translator import Translator

__all__ = ["Translator", "TranslatorConfig"]


def __getattr__(name: str) -> Any:
    """Import torch and transformers only when the class is used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from signatlas import models

    return getattr(models, name)
