"""Template matching of a lexicon's recordings against composed clips, a control without learning.

One-stage dynamic programming for connected words (H. Ney, "The use of a one-stage dynamic programming algorithm for
connected word recognition", IEEE Trans. ASSP 32(2), 1984) over all frames of all templates. Its accuracy shows how much
of a composed corpus is a copy of its lexicon.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from signatlas.corpus.clips import Clip
from signatlas.pose import skeleton as sk
from signatlas.pose.normalize import mirror, normalize
from signatlas.synthetic.composition.lexicon import Exemplar, Lexicon
from signatlas.synthetic.composition.motion import LEFT, RIGHT, Motion, from_poses, hand_is_used, to_poses
from signatlas.synthetic.composition.style import REST, generator
from signatlas.synthetic.composition.trimming import is_left_handed

MAX_STEP = 3  # largest step, in template frames per clip frame: composed signs are faster than exemplars
POSITION, SHAPE, VELOCITY = 4.0, 5.0, 8.0  # feature weights of wrist, fingers (in torsos) and wrist velocity
TEMPLATES_PER_WORD = 5
MANY_TEMPLATES = 500  # with more templates, fewer clips are used, as each takes about a second
CLIPS, CLIPS_OF_MANY = (40, 300), (10, 100)  # numbers of dev and test clips
PENALTIES = (0.25, 0.5, 1.0, 2.0, 4.0)  # costs of starting a sign, in mean distances
FILLERS = (0.2, 0.3, 0.4, 0.6, 1.0)  # costs of a frame between signs, in mean distances; at 1 there are hardly any


def hand_features(poses: np.ndarray, aspect: float | None = None) -> np.ndarray:
    """Return features, float32 [frames, 88], of poses [frames, 75, 3]; NaN for a missing hand.

    For each hand: wrist relative to the nose, its velocity, and the other 20 points relative to the wrist, in 2-D,
    normalized by :func:`signatlas.pose.normalize.normalize` and weighted.
    """
    points = normalize(poses, aspect)[..., :2]
    columns = []
    for hand in (sk.LEFT_HAND, sk.RIGHT_HAND):
        wrist = points[:, hand][:, :1]
        position = wrist - points[:, sk.NOSE, None]
        velocity = np.gradient(wrist, axis=0) if len(wrist) > 1 else wrist - wrist
        fingers = points[:, hand][:, 1:] - wrist
        columns += [POSITION * position, VELOCITY * velocity, SHAPE * fingers]
    return np.concatenate(columns, axis=1).reshape(len(points), -1).astype(np.float32)


@dataclass(frozen=True)
class TuningResult:
    """Best penalties on development clips, and their word error rate."""

    penalty: float
    filler: float
    wer: float


@dataclass(frozen=True)
class Recognizer:
    """Recognizer with templates [frames, D] (NaN: missing) and their labels.

    Raises ValueError for no templates or templates without frames.
    """

    templates: tuple[np.ndarray, ...]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.templates or len(self.templates) != len(self.labels):
            raise ValueError(f"{len(self.templates)} templates and {len(self.labels)} labels")
        if not all(len(template) for template in self.templates):
            raise ValueError("templates without frames: remove them")

    @cached_property
    def _frames(self) -> np.ndarray:
        return np.concatenate(self.templates).astype(np.float32)

    @cached_property
    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the first and last frame of each template among all frames."""
        ends = np.cumsum([len(template) for template in self.templates])
        return np.concatenate([[0], ends[:-1]]), ends - 1

    @cached_property
    def _absent(self) -> float:
        """Cost of a value that only one frame has: the mean squared difference of two random frames."""
        values = self._frames[:, np.isfinite(self._frames).any(0)]
        return float(2 * np.nanvar(values, axis=0).mean()) if values.size else 1.0

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return distances, float32 [T, all template frames]: mean squared differences of present values.

        A value that only one of both frames has counts as the mean squared difference of two random frames.
        """
        clip_present, template_present = np.isfinite(features), np.isfinite(self._frames)
        clip_values = np.where(clip_present, features, 0).astype(np.float32)
        template_values = np.where(template_present, self._frames, 0)
        clip_mask, template_mask = clip_present.astype(np.float32), template_present.astype(np.float32)
        both = clip_mask @ template_mask.T
        either = clip_mask.sum(1)[:, None] + template_mask.sum(1)[None] - both
        squares = (
            (clip_values * clip_values) @ template_mask.T
            + clip_mask @ (template_values * template_values).T
            - 2 * (clip_values @ template_values.T)
        )
        total = np.maximum(squares, 0) + self._absent * (either - both)
        return total / np.maximum(either, 1)

    @cached_property
    def scale(self) -> float:
        """Mean distance between template frames, the unit of penalties."""
        sample = self._frames[:: max(1, len(self._frames) // 200)]
        return float(self.distances(sample).mean()) or 1.0

    def recognize(self, features: np.ndarray, penalty: float, filler: float = float("inf")) -> list[str]:
        """Return the labels of the best sequence of templates for ``features`` [T, D].

        Each clip frame is matched to a template frame, 0 to ``MAX_STEP`` frames after the previous one; templates are
        matched from their first to their last frame and cost ``penalty`` mean distances each. Frames outside signs
        cost ``filler`` mean distances; by default every frame is part of a sign. Returns an empty list if no sign is
        cheapest, or if the clip is too short for every template.
        """
        return self._search(self.distances(features), penalty * self.scale, filler * self.scale)

    def _pad(self, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Insert ``MAX_STEP`` impassable frames before each template; return distances, first and last frames."""
        firsts, lasts = self._bounds
        shift = MAX_STEP * np.arange(1, len(firsts) + 1)
        columns = np.arange(distances.shape[1]) + np.repeat(shift, lasts - firsts + 1)
        padded = np.full((len(distances), distances.shape[1] + MAX_STEP * len(firsts)), np.inf, np.float32)
        padded[:, columns] = distances
        return padded, firsts + shift, lasts + shift

    def _search(self, distances: np.ndarray, penalty: float, filler: float) -> list[str]:
        distances, firsts, lasts = self._pad(distances)
        cost = np.full(distances.shape[1], np.inf, np.float32)
        start_times = np.zeros(distances.shape[1], np.int32)  # time at which the path entered its template
        # Cost between signs; for each time, the end of the last sign, its template and its start.
        cost_between = 0.0
        last_ends: list[int] = []
        winners: list[int] = []
        winner_starts: list[int] = []
        for time, row in enumerate(distances):
            best, starts = cost.copy(), start_times.copy()
            for step in range(1, MAX_STEP + 1):
                better = cost[:-step] < best[step:]
                starts[step:] = np.where(better, start_times[:-step], starts[step:])
                best[step:] = np.where(better, cost[:-step], best[step:])
            entries = firsts[best[firsts] > cost_between + penalty]
            best[entries], starts[entries] = cost_between + penalty, time
            cost, start_times = best + row, starts
            winner = int(np.argmin(cost[lasts]))
            winners.append(winner)
            winner_starts.append(int(start_times[lasts[winner]]))
            filler_cost = cost_between + filler
            is_filler = filler_cost < cost[lasts[winner]]
            cost_between = filler_cost if is_filler else float(cost[lasts[winner]])
            last_ends.append((last_ends[-1] if last_ends else -1) if is_filler else time)
        return self._path(winners, winner_starts, last_ends) if np.isfinite(cost_between) else []

    def _path(self, winners: list[int], winner_starts: list[int], last_ends: list[int]) -> list[str]:
        labels: list[str] = []
        time = last_ends[-1] if last_ends else -1
        while time >= 0:
            labels.append(self.labels[winners[time]])
            previous = winner_starts[time] - 1
            time = last_ends[previous] if previous >= 0 else -1
        return labels[::-1]

    def tune(
        self,
        clips: Iterable[np.ndarray],
        references: Sequence[Sequence[str]],
        penalties: Sequence[float] = PENALTIES,
        fillers: Sequence[float] = FILLERS,
    ) -> TuningResult:
        """Return the penalty and filler with the lowest word error rate on development clips."""
        hypotheses_by_penalties: dict[tuple[float, float], list[list[str]]] = {
            penalties_pair: [] for penalties_pair in product(penalties, fillers)
        }
        for features in clips:
            distances = self.distances(features)
            for (penalty, filler), hypotheses in hypotheses_by_penalties.items():
                hypotheses.append(self._search(distances, penalty * self.scale, filler * self.scale))
        return min(
            (
                TuningResult(penalty, filler, wer(references, hypotheses))
                for (penalty, filler), hypotheses in hypotheses_by_penalties.items()
            ),
            key=lambda result: (result.wer, result.penalty, result.filler),
        )


def recognize(
    features: np.ndarray,
    templates: Sequence[np.ndarray],
    labels: Sequence[str],
    penalty: float,
    filler: float = float("inf"),
) -> list[str]:
    """Recognize one clip; see :meth:`Recognizer.recognize`."""
    return Recognizer(tuple(templates), tuple(labels)).recognize(features, penalty, filler)


def wer(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> float:
    """Return the word error rate: substitutions, deletions and insertions per word of ``references``.

    Insertions can raise it above 1. Raises ValueError for lists of different lengths and empty references.
    """
    import jiwer

    if len(references) != len(hypotheses) or not all(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references: give one each, none empty")
    # Labels may contain spaces, so numbers stand for them.
    numbers: dict[str, str] = {}
    lines = [
        [" ".join(numbers.setdefault(label, str(len(numbers))) for label in labels) for labels in side]
        for side in (references, hypotheses)
    ]
    return float(jiwer.wer(lines[0], lines[1]))


def score_template_matching(
    lexicon: Lexicon, signs: Mapping[str, Mapping[str, Any]], dev: Sequence[Clip], test: Sequence[Clip], seed: int
) -> dict[str, Any]:
    """Recognize ``test`` clips by template matching, with penalties tuned on ``dev``; return scores for the report.

    ``wer`` is the word error rate; ``missed`` the share of signs not recognized, for glosses with recordings per split
    ("own") and glosses whose recordings all splits share ("shared"). ``signs`` is the table of corpus.json. Glosses
    with the same word count as one.
    """
    glosses = {sign["word"]: gloss for gloss, sign in signs.items()}
    exemplars = _choose_templates(lexicon, seed)
    recognizer = Recognizer(
        tuple(hand_features(_neutral_poses(e.motion, lexicon.relaxed), 1.0) for e in exemplars),
        tuple(glosses[e.word] for e in exemplars),
    )
    max_dev, max_test = CLIPS if len(exemplars) <= MANY_TEMPLATES else CLIPS_OF_MANY
    dev, test = dev[:max_dev], test[:max_test]
    references = [[glosses[signs[g]["word"]] for g in clip.glosses or ()] for clip in (*dev, *test)]
    tuned = recognizer.tune([_clip_features(clip) for clip in dev], references[: len(dev)])
    hypotheses = [recognizer.recognize(_clip_features(clip), tuned.penalty, tuned.filler) for clip in test]
    shared = {gloss for gloss, sign in signs.items() if sign["shared"]}
    return {
        "wer": wer(references[len(dev) :], hypotheses),
        "missed": missed_shares(references[len(dev) :], hypotheses, shared),
        "penalty": tuned.penalty,
        "filler": tuned.filler,
        "clips": len(test),
        "templates": len(exemplars),
    }


def missed_shares(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]], shared: set[str]
) -> dict[str, float]:
    """Return the share of reference glosses that were substituted or deleted, by whether recordings are shared."""
    import jiwer

    labels = {gloss for side in (references, hypotheses) for glosses in side for gloss in glosses}
    numbers = {label: str(number) for number, label in enumerate(sorted(labels))}  # a label may contain spaces
    reference_lines, hypothesis_lines = (
        [" ".join(numbers[w] for w in words) for words in side] for side in (references, hypotheses)
    )
    total: Counter[str] = Counter()
    correct: Counter[str] = Counter()
    for reference, chunks in zip(
        references, jiwer.process_words(reference_lines, hypothesis_lines).alignments, strict=True
    ):
        kinds = ["shared" if gloss in shared else "own" for gloss in reference]
        total.update(kinds)
        for chunk in chunks:
            if chunk.type == "equal":
                correct.update(kinds[chunk.ref_start_idx : chunk.ref_end_idx])
    return {kind: 1 - correct[kind] / count for kind, count in sorted(total.items())}


def _choose_templates(lexicon: Lexicon, seed: int) -> list[Exemplar]:
    """Return up to ``TEMPLATES_PER_WORD`` training recordings of each word."""
    rng = generator(seed, "templates")
    chosen: list[Exemplar] = []
    for word in lexicon.words:
        recordings = lexicon.recordings(word, "train")
        chosen += [recordings[i] for i in rng.permutation(len(recordings))[:TEMPLATES_PER_WORD]]
    return chosen


def _neutral_poses(motion: Motion, relaxed: np.ndarray) -> np.ndarray:
    """Return poses of an exemplar for a signer of average proportions; an unused hand is at rest."""
    wrists, shapes = motion.wrists.copy(), motion.shapes.copy()
    for hand in (LEFT, RIGHT):
        if not hand_is_used(motion, hand):
            wrists[:, hand], shapes[:, hand] = REST[hand], relaxed[hand]
    seen = np.ones((len(motion), 2), bool)
    return to_poses(Motion(wrists, shapes, seen), np.full((len(motion), 2), (0.5, 0.27)), 0.05)


def _clip_features(clip: Clip) -> np.ndarray:
    """Return features of a composed clip, mirrored for a left-handed signer, as the lexicon is right-handed."""
    motion = from_poses(clip.poses)
    is_mirrored = motion is not None and is_left_handed(motion)
    center = np.array([0.5, 0, 0], np.float32)
    return hand_features(mirror(clip.poses - center) + center if is_mirrored else clip.poses, 1.0)
