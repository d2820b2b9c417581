"""The corpus format: clips, corpus.json, splits, reports. Public corpora are in `sources`, videos in `extraction`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signatlas.corpus.format import Clip, Corpus, CorpusInfo, write_corpus

__all__ = ["SPLITS", "Clip", "Corpus", "CorpusInfo", "write_corpus"]

SPLITS = ("train", "dev", "test")


def __getattr__(name: str) -> Any:
    """Import the format, and pyarrow with it, only when one of its names is used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from signatlas.corpus import format

    return getattr(format, name)
