"""A control without learning: connected signs recognized by matching the lexicon's own recordings.

One-pass dynamic programming for connected words (H. Ney, "The use of a one-stage dynamic programming algorithm for
connected word recognition", IEEE Trans. ASSP 32(2), 1984), over all frames of all templates at once. What it gets right
shows how much of a composed corpus is a copy of its lexicon.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from signatlas.pose import skeleton as sk
from signatlas.pose.normalize import normalize

JUMP = 3  # template frames that one frame of signing may pass: composed signs are up to so much faster
POSITION, SHAPE, VELOCITY = 4.0, 5.0, 8.0  # weights of wrist (torsos), of fingers (torsos) and of wrist a frame
PENALTIES = (0.25, 0.5, 1.0, 2.0, 4.0)  # mean distances for entering a sign
FILLERS = (0.2, 0.3, 0.4, 0.6, 1.0)  # mean distances for a frame between signs; at 1 there are hardly any


def hand_features(poses: np.ndarray, aspect: float | None = None) -> np.ndarray:
    """float32 [frames, 88] of poses [frames, 75, 3]; NaN where a hand was not found.

    Of each hand the wrist about the nose, its velocity, and the other 20 points about the wrist, in 2-D, as
    :func:`signatlas.pose.normalize.normalize` scales them, weighted.
    """
    points = normalize(poses, aspect)[..., :2]
    columns = []
    for hand in (sk.LEFT_HAND, sk.RIGHT_HAND):
        wrist = points[:, hand][:, :1]
        place = wrist - points[:, sk.NOSE, None]
        speed = np.gradient(wrist, axis=0) if len(wrist) > 1 else wrist - wrist
        fingers = points[:, hand][:, 1:] - wrist
        columns += [POSITION * place, VELOCITY * speed, SHAPE * fingers]
    return np.concatenate(columns, axis=1).reshape(len(points), -1).astype(np.float32)


@dataclass(frozen=True)
class Tuned:
    """What development clips are recognized best with, and their word error rate."""

    penalty: float
    filler: float
    wer: float


@dataclass(frozen=True)
class Recognizer:
    """Templates [frames, D] (NaN: not seen) and the label of each. Raises ValueError for none or for empty ones."""

    templates: tuple[np.ndarray, ...]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.templates or len(self.templates) != len(self.labels):
            raise ValueError(f"{len(self.templates)} templates and {len(self.labels)} labels")
        if not all(len(template) for template in self.templates):
            raise ValueError("a template without frames")

    @cached_property
    def _frames(self) -> np.ndarray:
        return np.concatenate(self.templates).astype(np.float32)

    @cached_property
    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Index of the first and of the last frame of each template among all frames."""
        ends = np.cumsum([len(template) for template in self.templates])
        return np.concatenate([[0], ends[:-1]]), ends - 1

    @cached_property
    def _absent(self) -> float:
        """What a value that only one side has costs: the mean squared difference of two frames drawn at random."""
        values = self._frames[:, np.isfinite(self._frames).any(0)]
        return float(2 * np.nanvar(values, axis=0).mean()) if values.size else 1.0

    def distances(self, features: np.ndarray) -> np.ndarray:
        """float32 [T, all template frames]: mean squared difference over the values that at least one of both has.

        A value that only one has counts as the mean squared difference of two frames drawn at random.
        """
        here, there = np.isfinite(features), np.isfinite(self._frames)
        x = np.where(here, features, 0).astype(np.float32)
        y = np.where(there, self._frames, 0)
        m, n = here.astype(np.float32), there.astype(np.float32)
        both = m @ n.T
        either = m.sum(1)[:, None] + n.sum(1)[None] - both
        squares = (x * x) @ n.T + m @ (y * y).T - 2 * (x @ y.T)
        total = np.maximum(squares, 0) + self._absent * (either - both)
        return total / np.maximum(either, 1)

    @cached_property
    def scale(self) -> float:
        """The mean distance between frames of different templates, in which penalties are given."""
        some = self._frames[:: max(1, len(self._frames) // 200)]
        return float(self.distances(some).mean()) or 1.0

    def recognize(self, features: np.ndarray, penalty: float, filler: float = float("inf")) -> list[str]:
        """Labels of the best sequence of templates for ``features`` [T, D].

        A frame of signing is matched to one of a template, which stays or goes on by up to ``JUMP`` frames; a template
        begins with its first frame, ends with its last, and costs ``penalty`` mean distances. A frame before, between
        or after signs costs ``filler`` mean distances; without it every frame is part of a sign. Empty where the
        cheapest is no sign at all, or where not even one can be passed in time.
        """
        return self._search(self.distances(features), penalty * self.scale, filler * self.scale)

    def _padded(self, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``distances`` with ``JUMP`` impassable frames before each template, and where each now begins and ends."""
        firsts, lasts = self._bounds
        shift = JUMP * np.arange(1, len(firsts) + 1)
        columns = np.arange(distances.shape[1]) + np.repeat(shift, lasts - firsts + 1)
        wide = np.full((len(distances), distances.shape[1] + JUMP * len(firsts)), np.inf, np.float32)
        wide[:, columns] = distances
        return wide, firsts + shift, lasts + shift

    def _search(self, distances: np.ndarray, penalty: float, filler: float) -> list[str]:
        distances, firsts, lasts = self._padded(distances)
        cost = np.full(distances.shape[1], np.inf, np.float32)
        entered = np.zeros(distances.shape[1], np.int32)  # when the path came into its template
        # Between signs: the cost there, and at each time when the last sign ended, which it was, when it had begun.
        between = 0.0
        ended: list[int] = []
        word: list[int] = []
        since: list[int] = []
        for time, row in enumerate(distances):
            best, start = cost.copy(), entered.copy()
            for by in range(1, JUMP + 1):
                better = cost[:-by] < best[by:]
                start[by:] = np.where(better, entered[:-by], start[by:])
                best[by:] = np.where(better, cost[:-by], best[by:])
            enters = firsts[best[firsts] > between + penalty]
            best[enters], start[enters] = between + penalty, time
            cost, entered = best + row, start
            winner = int(np.argmin(cost[lasts]))
            word.append(winner)
            since.append(int(entered[lasts[winner]]))
            waits = between + filler
            stays = waits < cost[lasts[winner]]
            between = waits if stays else float(cost[lasts[winner]])
            ended.append((ended[-1] if ended else -1) if stays else time)
        return self._path(word, since, ended) if np.isfinite(between) else []

    def _path(self, word: list[int], since: list[int], ended: list[int]) -> list[str]:
        found: list[str] = []
        time = ended[-1] if ended else -1
        while time >= 0:
            found.append(self.labels[word[time]])
            before = since[time] - 1
            time = ended[before] if before >= 0 else -1
        return found[::-1]

    def tune(
        self,
        clips: Iterable[np.ndarray],
        references: Sequence[Sequence[str]],
        penalties: Sequence[float] = PENALTIES,
        fillers: Sequence[float] = FILLERS,
    ) -> Tuned:
        """The penalty and the filler with the lowest word error rate on development clips."""
        said: dict[tuple[float, float], list[list[str]]] = {pair: [] for pair in product(penalties, fillers)}
        for features in clips:
            distances = self.distances(features)
            for (penalty, filler), hypotheses in said.items():
                hypotheses.append(self._search(distances, penalty * self.scale, filler * self.scale))
        return min(
            (Tuned(penalty, filler, wer(references, found)) for (penalty, filler), found in said.items()),
            key=lambda tuned: (tuned.wer, tuned.penalty, tuned.filler),
        )


def recognize(
    features: np.ndarray,
    templates: Sequence[np.ndarray],
    labels: Sequence[str],
    penalty: float,
    filler: float = float("inf"),
) -> list[str]:
    """As :meth:`Recognizer.recognize`, for one clip."""
    return Recognizer(tuple(templates), tuple(labels)).recognize(features, penalty, filler)


def wer(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> float:
    """Word error rate: substitutions, deletions and insertions over the number of words in ``references``.

    Over 1 where more is inserted than there is. Raises ValueError for lists of different lengths or no word at all.
    """
    import jiwer

    if len(references) != len(hypotheses) or not all(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references, each with a word")
    # A label may hold a space: numbers stand for labels.
    number: dict[str, str] = {}
    lines = [
        [" ".join(number.setdefault(label, str(len(number))) for label in labels) for labels in side]
        for side in (references, hypotheses)
    ]
    return float(jiwer.wer(lines[0], lines[1]))
