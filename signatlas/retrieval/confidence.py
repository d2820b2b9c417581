"""Confidence of a search result: its score against the best scores of queries whose sign is not in the index."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

Mirror = Literal["none", "best"]

PERCENTILES = {"probable": 99.0, "possible": 90.0, "found": 50.0}
NOT_FOUND = "not found"
WORDS = ("probable", "possible", "unlikely", NOT_FOUND)
# Of queries whose sign is not in the index, the share that gets each word as verdict, by the choice of percentiles.
ABSENT_SHARES = {"probable": 0.01, "possible": 0.09, "unlikely": 0.4, NOT_FOUND: 0.5}
LEAST_RECORDINGS = 100  # with fewer, the 99th percentile depends on a single recording
MOST_RECORDINGS = 1000
HANDS = {"best": "searched by either hand", "none": "searched as recorded"}
THRESHOLDS = (
    "probable above their 99th percentile, possible above the 90th, else unlikely; not found where no score is above "
    "the 50th"
)


class Confidence(BaseModel):
    """Score thresholds of one index; None where it has fewer than two glosses and cannot be calibrated.

    ``mirror`` says how the recordings were searched, ``splits`` which splits of the corpus they are from; indexes
    written before these fields were calibrated with recordings of any split, searched as recorded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str = "none: the index has fewer than two glosses"
    recordings: int = 0  # over which the percentiles were taken
    mirror: Mirror = "none"
    splits: tuple[str, ...] = ()
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
            return NOT_FOUND
        return self.word(best)


class Selection(NamedTuple):
    """Recordings to calibrate with: sorted ids, their splits, and whether their signs are absent from the index."""

    ids: tuple[str, ...]
    splits: tuple[str, ...]
    absent: bool

    @property
    def description(self) -> str:
        """Which recordings these are."""
        signs = "whose gloss is not in the index" if self.absent else "with their own gloss left out of the index"
        return f"{' and '.join(self.splits)} recordings {signs}"


class Recordings(NamedTuple):
    """The selected recordings as unit vectors float32 [S, Q, E] with glosses [Q].

    S is 1 for recordings as they are, 2 with those of the mirrored recordings after them.
    """

    selection: Selection
    sides: np.ndarray
    glosses: Sequence[str | None]


def select_recordings(rows: Iterable[Mapping[str, Any]], indexed: Mapping[str, str | None]) -> Selection:
    """Choose the recordings of a corpus that an index is calibrated with.

    ``rows`` have the corpus's ``id``, ``gloss`` and ``split``, ``indexed`` the gloss of each entry by id. The first of
    these groups with at least ``LEAST_RECORDINGS`` is taken, evenly spaced by id where it has more than
    ``MOST_RECORDINGS``:

    1. dev recordings whose gloss is not in the index
    2. other recordings whose gloss is not in the index; none of test, on which the words are evaluated
    3. dev recordings of indexed glosses, searched with their own gloss left out
    4. indexed recordings, however few, searched in the same way. Their scores are too low where the model was trained
       on them, because training has pushed these glosses apart.
    """
    known = set(indexed.values()) - {None}
    glossed = [row for row in rows if row["gloss"] is not None]
    absent = [row for row in glossed if row["gloss"] not in known]
    groups = (
        (True, [row for row in absent if row["split"] == "dev"]),
        (True, [row for row in absent if row["split"] != "test"]),
        (False, [row for row in glossed if row["split"] == "dev" and row["gloss"] in known]),
    )
    for is_absent, group in groups:
        if len(group) >= LEAST_RECORDINGS:
            return _selection(group, absent=is_absent)
    return _selection([row for row in glossed if row["id"] in indexed], absent=False)


def _selection(rows: Collection[Mapping[str, Any]], *, absent: bool) -> Selection:
    chosen = sorted(rows, key=lambda row: str(row["id"]))
    if len(chosen) > MOST_RECORDINGS:
        chosen = [chosen[i * len(chosen) // MOST_RECORDINGS] for i in range(MOST_RECORDINGS)]
    splits = tuple(sorted({str(row["split"]) for row in chosen}))
    return Selection(tuple(str(row["id"]) for row in chosen), splits, absent)


def calibrate(vectors: np.ndarray, glosses: Sequence[str | None], recordings: Recordings | None = None) -> Confidence:
    """Compute thresholds of an index from its unit vectors [N, E], their glosses [N], and recordings to search with.

    A recording's best score is that of the nearest entry of another gloss than its own, by the better of its sides.
    The 99th percentile of the best scores is then a score that one in a hundred queries for an absent sign reaches,
    although all of its results are wrong. Without ``recordings`` up to ``MOST_RECORDINGS`` of the entries themselves
    are used, as recorded.
    """
    labels = np.array([g or "" for g in glosses], dtype=object)
    glossed = np.array([g is not None for g in glosses], bool)
    if len(np.unique(labels[glossed].astype(str))) < 2 and not (recordings and recordings.selection.absent):
        return Confidence()
    if recordings is None:
        positions = np.flatnonzero(glossed)
        if len(positions) > MOST_RECORDINGS:
            positions = positions[np.arange(MOST_RECORDINGS) * len(positions) // MOST_RECORDINGS]
        recordings = Recordings(
            Selection((), ("indexed",), False), vectors[None, positions], labels[positions].tolist()
        )
        splits: tuple[str, ...] = ()
    else:
        splits = recordings.selection.splits
    # An entry without a gloss may show the sign of a recording; of an absent sign it is one more wrong answer.
    entries = np.ones(len(labels), bool) if recordings.selection.absent else glossed
    query_labels = np.array(recordings.glosses, dtype=object)
    best = np.max([_best(side, query_labels, vectors[entries], labels[entries]) for side in recordings.sides], axis=0)
    mirror: Mirror = "best" if len(recordings.sides) > 1 else "none"
    return Confidence(
        rule=f"best scores of {recordings.selection.description}, {HANDS[mirror]}: {THRESHOLDS}",
        recordings=len(best),
        mirror=mirror,
        splits=splits,
        **{name: round(float(np.percentile(best, percentile)), 6) for name, percentile in PERCENTILES.items()},
    )


def _best(queries: np.ndarray, query_labels: np.ndarray, vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the best score of each query among the vectors of other labels than its own."""
    best = np.full(len(queries), -np.inf, np.float32)
    for start in range(0, len(vectors), 65536):
        block = slice(start, start + 65536)
        scores = queries @ vectors[block].T
        scores[query_labels[:, None] == labels[block][None]] = -np.inf
        best = np.maximum(best, scores.max(axis=1))
    return best
