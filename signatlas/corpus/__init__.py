"""The corpus format: clips, corpus.json, splits, reports. Public corpora are in `sources`, videos in `extraction`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signatlas.lazy import lazy_exports

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

__getattr__ = lazy_exports(__name__, _TARGETS)
