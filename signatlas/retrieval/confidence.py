"""Say in words how far a score can be trusted: against the best score of wrong answers in the same index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

PERCENTILES = {"probable": 99.0, "possible": 90.0, "found": 50.0}
RULE = (
    "percentiles of the best score that an indexed recording reaches with a recording of another gloss: probable "
    "above the 99th, possible above the 90th, else unlikely; not found where no score is above the 50th"
)


class Confidence(BaseModel):
    """Score thresholds of one index. None where it holds no two glosses, and so nothing to compare with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str = RULE
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


def calibrate(vectors: np.ndarray, glosses: Sequence[str | None], sample: int = 1000) -> Confidence:
    """Thresholds from unit vectors [N, E] and their glosses, over at most ``sample`` evenly spaced recordings.

    Each recording plays a query whose sign the index lacks: its own gloss is taken out and the best score among the
    others noted. The 99th percentile of these is a score that one in a hundred such queries reaches with a wrong
    answer. The words hold for queries recorded as the index was; from another camera scores tend to be lower.
    """
    labels = np.unique([g or "" for g in glosses], return_inverse=True)[1]
    named = np.flatnonzero([g is not None for g in glosses])
    if len(np.unique(labels[named])) < 2:
        return Confidence()
    queries = named[np.unique(np.linspace(0, len(named) - 1, min(sample, len(named))).astype(int))]
    nearest = np.full(len(queries), -np.inf, np.float32)
    for start in range(0, len(named), 65536):
        block = named[start : start + 65536]
        scores = vectors[queries] @ vectors[block].T
        scores[labels[queries][:, None] == labels[block][None]] = -np.inf
        nearest = np.maximum(nearest, scores.max(axis=1))
    thresholds = {name: round(float(np.percentile(nearest, p)), 6) for name, p in PERCENTILES.items()}
    return Confidence(recordings=len(queries), **thresholds)
