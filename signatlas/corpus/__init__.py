"""The corpus format: clips, corpus.json, splits, reports. Public corpora are in `sources`, videos in `extraction`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signatlas.corpus.clips import clips_to_table
    from signatlas.corpus.format import Clip, Corpus, CorpusInfo, write_corpus
    from signatlas.corpus.splits import with_splits

__all__ = [
    "SPLITS",
    "Clip",
    "Corpus",
    "CorpusInfo",
    "clips_to_table",
    "with_splits",
    "write_corpus",
]

SPLITS = ("train", "dev", "test")

_TARGETS = {
    "Clip": ("format", "Clip"),
    "Corpus": ("format", "Corpus"),
    "CorpusInfo": ("format", "CorpusInfo"),
    "clips_to_table": ("clips", "clips_to_table"),
    "with_splits": ("splits", "with_splits"),
    "write_corpus": ("format", "write_corpus"),
}


def __getattr__(name: str) -> Any:
    """Import a module, and pyarrow with it, only when one of its names is used."""
    if name not in _TARGETS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _TARGETS[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
