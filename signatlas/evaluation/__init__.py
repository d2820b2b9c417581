"""Evaluate models on corpora, read and compare evaluations."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signatlas.evaluation.comparison import compare
    from signatlas.evaluation.ranking import Ranking, summarize
    from signatlas.evaluation.sentences.evaluator import evaluate as evaluate_sentences
    from signatlas.evaluation.signs.evaluator import evaluate as evaluate_signs
    from signatlas.evaluation.translations.evaluator import evaluate as evaluate_translations
    from signatlas.evaluation.trec import read_ranking, write_qrels, write_run

__all__ = [
    "Ranking",
    "compare",
    "evaluate_sentences",
    "evaluate_signs",
    "evaluate_translations",
    "read_ranking",
    "summarize",
    "write_qrels",
    "write_run",
]

_TARGETS = {
    "Ranking": ("ranking", "Ranking"),
    "compare": ("comparison", "compare"),
    "evaluate_sentences": ("sentences.evaluator", "evaluate"),
    "evaluate_signs": ("signs.evaluator", "evaluate"),
    "evaluate_translations": ("translations.evaluator", "evaluate"),
    "read_ranking": ("trec", "read_ranking"),
    "summarize": ("ranking", "summarize"),
    "write_qrels": ("trec", "write_qrels"),
    "write_run": ("trec", "write_run"),
}


def __getattr__(name: str) -> Any:
    """Import a module, and torch with it, only when one of its names is used."""
    if name not in _TARGETS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _TARGETS[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
