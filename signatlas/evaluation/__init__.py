"""Evaluate models on corpora, read and compare evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signatlas.lazy import lazy_exports

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

__getattr__ = lazy_exports(__name__, _TARGETS)
