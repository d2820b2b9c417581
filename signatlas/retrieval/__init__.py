"""Index versions on disk and search in them: signs by a recording, sentences by a text or a clip."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signatlas.retrieval.index_version import CorpusPart, IndexVersion, activate, as_rows, versions
    from signatlas.retrieval.index_version import write as write_index_version
    from signatlas.retrieval.search import Hit, SignSearch
    from signatlas.retrieval.sentences import SentenceResult, SentenceSearch

__all__ = [
    "CorpusPart",
    "Hit",
    "IndexVersion",
    "SentenceResult",
    "SentenceSearch",
    "SignSearch",
    "activate",
    "as_rows",
    "versions",
    "write_index_version",
]

_TARGETS = {
    "CorpusPart": ("index_version", "CorpusPart"),
    "Hit": ("search", "Hit"),
    "IndexVersion": ("index_version", "IndexVersion"),
    "SentenceResult": ("sentences", "SentenceResult"),
    "SentenceSearch": ("sentences", "SentenceSearch"),
    "SignSearch": ("search", "SignSearch"),
    "activate": ("index_version", "activate"),
    "as_rows": ("index_version", "as_rows"),
    "versions": ("index_version", "versions"),
    "write_index_version": ("index_version", "write"),
}


def __getattr__(name: str) -> Any:
    """Import a module, and pyarrow or torch with it, only when one of its names is used."""
    if name not in _TARGETS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _TARGETS[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
