"""Say in words how far a score can be trusted: against the best scores of queries whose sign is not in the index."""

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
LEFT_OUT = f"best scores of indexed recordings with their own gloss taken out: {WORDS}"
LEAST_ABSENT = 100  # with fewer of them the 99th percentile is a matter of one recording


class Confidence(BaseModel):
    """Score thresholds of one index. None where it holds no two glosses, and so nothing to compare with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str = "none: the index holds no two glosses"
    recordings: int = 0  # how many of them the percentiles were taken over
    probable: float | None = None
    possible: float | None = None
    found: float | None = None

    def word(self, score: float) -> str | None:
        """probable, possible or unlikely; None where the index could not be calibrated."""
        if self.probable is None or self.possible is None:
            return None
        return "probable" if score > self.probable else "possible" if score > self.possible else "unlikely"

    def verdict(self, best: float | None) -> str | None:
        """The word of a whole answer: that of its best score, or ``not found``."""
        if best is None or (self.found is not None and best <= self.found):
            return "not found"
        return self.word(best)


def calibrate(
    vectors: np.ndarray, glosses: Sequence[str | None], absent: np.ndarray | None = None, sample: int = 1000
) -> Confidence:
    """Thresholds from the unit vectors [N, E] of an index, their glosses, and ``absent`` [M, E].

    ``absent`` are recordings whose sign the index lacks: the 99th percentile of their best scores is what one in a
    hundred such queries reaches with an answer that can only be wrong. With fewer than ``LEAST_ABSENT`` of them, at
    most ``sample`` indexed recordings take their place, each with its own gloss taken out. That is too hopeful where
    the model was trained on the indexed recordings, because training has pushed just these glosses apart.
    """
    if absent is not None and len(absent) >= LEAST_ABSENT:
        return _thresholds(ABSENT, _best(absent, np.full(len(absent), -1), vectors, np.zeros(len(vectors), int)))
    labels = np.unique([g or "" for g in glosses], return_inverse=True)[1]
    named = np.flatnonzero([g is not None for g in glosses])
    if len(np.unique(labels[named])) < 2:
        return Confidence()
    queries = named[np.unique(np.linspace(0, len(named) - 1, min(sample, len(named))).astype(int))]
    return _thresholds(LEFT_OUT, _best(vectors[queries], labels[queries], vectors[named], labels[named]))


def _best(queries: np.ndarray, wanted: np.ndarray, vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The best score of each query among vectors of other labels than the one it wants."""
    best = np.full(len(queries), -np.inf, np.float32)
    for start in range(0, len(vectors), 65536):
        block = slice(start, start + 65536)
        scores = queries @ vectors[block].T
        scores[wanted[:, None] == labels[block][None]] = -np.inf
        best = np.maximum(best, scores.max(axis=1))
    return best


def _thresholds(rule: str, scores: np.ndarray) -> Confidence:
    percentiles = {name: round(float(np.percentile(scores, p)), 6) for name, p in PERCENTILES.items()}
    return Confidence(rule=rule, recordings=len(scores), **percentiles)
