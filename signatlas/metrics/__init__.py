"""Metrics of retrieval and translation, as functions of arrays and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signatlas.lazy import lazy_exports

if TYPE_CHECKING:
    from signatlas.metrics.calibration import expected_calibration_error, wilson_interval
    from signatlas.metrics.classification import top_k_accuracy
    from signatlas.metrics.retrieval import average_precision, bootstrap, bootstrap_rank_metrics, rank_metrics, ranks
    from signatlas.metrics.retrieval import evaluate as retrieval_metrics
    from signatlas.metrics.translation import rouge_l, sentence_scores
    from signatlas.metrics.translation import score as translation_metrics

__all__ = [
    "average_precision",
    "bootstrap",
    "bootstrap_rank_metrics",
    "expected_calibration_error",
    "rank_metrics",
    "ranks",
    "retrieval_metrics",
    "rouge_l",
    "sentence_scores",
    "top_k_accuracy",
    "translation_metrics",
    "wilson_interval",
]

_TARGETS = {
    "average_precision": ("retrieval", "average_precision"),
    "bootstrap": ("retrieval", "bootstrap"),
    "bootstrap_rank_metrics": ("retrieval", "bootstrap_rank_metrics"),
    "expected_calibration_error": ("calibration", "expected_calibration_error"),
    "rank_metrics": ("retrieval", "rank_metrics"),
    "ranks": ("retrieval", "ranks"),
    "retrieval_metrics": ("retrieval", "evaluate"),
    "rouge_l": ("translation", "rouge_l"),
    "sentence_scores": ("translation", "sentence_scores"),
    "top_k_accuracy": ("classification", "top_k_accuracy"),
    "translation_metrics": ("translation", "score"),
    "wilson_interval": ("calibration", "wilson_interval"),
}

__getattr__ = lazy_exports(__name__, _TARGETS)
