"""Metrics of retrieval and translation, as functions of arrays and texts."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signatlas.metrics.classification import top_k_accuracy
    from signatlas.metrics.retrieval import average_precision, bootstrap, bootstrap_rank_metrics, rank_metrics, ranks
    from signatlas.metrics.retrieval import evaluate as retrieval_metrics
    from signatlas.metrics.translation import rouge_l, sentence_scores
    from signatlas.metrics.translation import score as translation_metrics

__all__ = [
    "average_precision",
    "bootstrap",
    "bootstrap_rank_metrics",
    "rank_metrics",
    "ranks",
    "retrieval_metrics",
    "rouge_l",
    "sentence_scores",
    "top_k_accuracy",
    "translation_metrics",
]

_TARGETS = {
    "average_precision": ("retrieval", "average_precision"),
    "bootstrap": ("retrieval", "bootstrap"),
    "bootstrap_rank_metrics": ("retrieval", "bootstrap_rank_metrics"),
    "rank_metrics": ("retrieval", "rank_metrics"),
    "ranks": ("retrieval", "ranks"),
    "retrieval_metrics": ("retrieval", "evaluate"),
    "rouge_l": ("translation", "rouge_l"),
    "sentence_scores": ("translation", "sentence_scores"),
    "top_k_accuracy": ("classification", "top_k_accuracy"),
    "translation_metrics": ("translation", "score"),
}


def __getattr__(name: str) -> Any:
    """Import a module, and sacrebleu with it, only when one of its names is used."""
    if name not in _TARGETS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _TARGETS[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
