"""Confidence of a search result: its score against the best scores of queries whose sign is not in the index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

PERCENTILES = {"probable": 99.0, "possible": 90.0, "found": 50.0}
WORDS = (
    "probable above their 99th percentile, possible above the 90th, else unlikely; not found where no score is above "
    "the 50th"
)
ABSENT = f"best scores of recordings of the same corpus whose gloss is not in the index: {WORDS}"
LEFT_OUT = f"best scores of indexed recordings with their own gloss left out: {WORDS}"
LEAST_ABSENT = 100  # with fewer, the 99th percentile depends on a single recording


class Confidence(BaseModel):
    """Score thresholds of one index; None where it has fewer than two glosses and cannot be calibrated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str = "none: the index has fewer than two glosses"
    recordings: int = 0  # over which the percentiles were taken
    probable: float | None = None
    possible: float | None = None
    found: float | None = None

    def word(self, score: float) -> str | None:
        """Return probable, possible or unlikely; None where the index is not calibrated."""
        if self.probable is None or self.possible is None:
            return None
        return "probable" if score > self.probable else "possible" if score > self.possible else "unlikely"

    def verdict(self, best: float | None) -> str | None:
        """Return the word for a whole result: that of its best score, or ``not found``."""
        if best is None or (self.found is not None and best <= self.found):
            return "not found"
        return self.word(best)


def calibrate(
    vectors: np.ndarray, glosses: Sequence[str | None], absent: np.ndarray | None = None, sample: int = 1000
) -> Confidence:
    """Compute thresholds from the unit vectors [N, E] of an index, their glosses, and ``absent`` [M, E].

    ``absent`` are recordings whose sign the index lacks: the 99th percentile of their best scores is a score that one
    in a hundred such queries reaches, although all of its results are wrong. With fewer than ``LEAST_ABSENT`` of them,
    at most ``sample`` indexed recordings are used instead, each with its own gloss left out. That is too optimistic
    where the model was trained on the indexed recordings, because training has pushed these glosses apart.
    """
    if absent is not None and len(absent) >= LEAST_ABSENT:
        return _thresholds(ABSENT, _best(absent, np.full(len(absent), -1), vectors, np.zeros(len(vectors), int)))
    labels = np.unique([g or "" for g in glosses], return_inverse=True)[1]
    glossed = np.flatnonzero([g is not None for g in glosses])
    if len(np.unique(labels[glossed])) < 2:
        return Confidence()
    queries = glossed[np.unique(np.linspace(0, len(glossed) - 1, min(sample, len(glossed))).astype(int))]
    return _thresholds(LEFT_OUT, _best(vectors[queries], labels[queries], vectors[glossed], labels[glossed]))


def _best(queries: np.ndarray, query_labels: np.ndarray, vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the best score of each query among the vectors of other labels than its own."""
    best = np.full(len(queries), -np.inf, np.float32)
    for start in range(0, len(vectors), 65536):
        block = slice(start, start + 65536)
        scores = queries @ vectors[block].T
        scores[query_labels[:, None] == labels[block][None]] = -np.inf
        best = np.maximum(best, scores.max(axis=1))
    return best


def _thresholds(rule: str, scores: np.ndarray) -> Confidence:
    percentiles = {name: round(float(np.percentile(scores, p)), 6) for name, p in PERCENTILES.items()}
    return Confidence(rule=rule, recordings=len(scores), **percentiles)
