"""The dual encoder of sentence retrieval (CiCo)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signatlas.models.dual_encoder.config import DualEncoderConfig
    from signatlas.models.dual_encoder.encoder import DualEncoder

__all__ = ["DualEncoder", "DualEncoderConfig"]


def __getattr__(name: str) -> Any:
    """Import torch and transformers only when the class is used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from signatlas import models

    return getattr(models, name)
