"""Lexicon of isolated recordings, normalized in handedness, position, palm size, aspect, frame rate and smoothness."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from signatlas.corpus.clips import SPLITS, Clip
from signatlas.errors import CorpusError
from signatlas.synthetic.composition.calibration import (
    Calibration,
    apply_calibration,
    calibrate,
    estimate_aspect,
    stretch,
)
from signatlas.synthetic.composition.motion import LEFT, MIDDLE_KNUCKLE, RIGHT, Motion, from_poses, hand_is_used
from signatlas.synthetic.composition.trimming import is_left_handed, remove_idle_hand, trim

EMPTY_MESSAGE = "no recording of the lexicon shows a face and a hand: choose another corpus"


@dataclass(frozen=True)
class Exemplar:
    """Normalized recording of a sign."""

    id: str
    word: str
    split: str
    source: str
    motion: Motion


class Lexicon:
    """Exemplars by word and split.

    ``calibrations`` are those of the sources, ``relaxed`` [2, 21, 2] the hands at rest, ``skipped`` the reasons why
    recordings were left out, by clip id.
    """

    def __init__(
        self,
        exemplars: Iterable[Exemplar],
        calibrations: dict[str, Calibration],
        relaxed: np.ndarray,
        skipped: dict[str, str],
    ):
        self.exemplars = tuple(exemplars)
        self.calibrations, self.relaxed, self.skipped = calibrations, relaxed, skipped
        self._by_word: dict[str, list[Exemplar]] = defaultdict(list)
        for exemplar in self.exemplars:
            self._by_word[exemplar.word].append(exemplar)

    @property
    def words(self) -> dict[str, int]:
        """Number of recordings per word."""
        return {word: len(exemplars) for word, exemplars in self._by_word.items()}

    def shared(self, word: str) -> bool:
        """Return whether some split has no recording of ``word``, and uses those of the other splits."""
        return len({e.split for e in self._by_word[word]}) < len(SPLITS)

    def recordings(self, word: str, split: str) -> list[Exemplar]:
        """Return the exemplars of ``word`` for ``split``: those of the split, or all if it has none."""
        if word not in self._by_word:
            raise CorpusError(f"the lexicon has no recording of '{word}'")
        exemplars = self._by_word[word]
        return [e for e in exemplars if e.split == split] or exemplars


class CollectedRecordings(NamedTuple):
    """Recordings before calibration: trimmed, right-handed, in palms, with the aspect corrected."""

    recordings: list[tuple[Clip, Motion]]
    aspects: dict[str, float]
    skipped: dict[str, str]


def build_lexicon(clips: Iterable[Clip]) -> Lexicon:
    """Build a lexicon from isolated recordings.

    A word with at least three recordings in a source is taken from such sources only. Recordings without a face or a
    hand are listed in ``Lexicon.skipped``. Raises CorpusError if no recording is left.
    """
    return calibrate_lexicon(collect(clips))


def collect(clips: Iterable[Clip]) -> CollectedRecordings:
    """Normalize recordings up to the calibration; the part of :func:`build_lexicon` independent of word counts."""
    motions: list[tuple[Clip, Motion]] = []
    skipped: dict[str, str] = {}
    for clip in clips:
        motion = _usable_motion(clip)
        if isinstance(motion, str):
            skipped[clip.id] = motion
        else:
            motions.append((clip, motion.mirrored() if is_left_handed(motion) else motion))
    if not motions:
        raise CorpusError(EMPTY_MESSAGE)
    kept = _prefer_several(motions)
    aspects = {s: estimate_aspect([m for c, m in kept if c.source == s]) for s in {clip.source for clip, _ in kept}}
    trimmed = [(clip, remove_idle_hand(trim(stretch(motion, aspects[clip.source])))) for clip, motion in kept]
    without_hand = [
        clip.id for clip, motion in trimmed if not any(hand_is_used(motion, hand) for hand in (LEFT, RIGHT))
    ]
    skipped |= dict.fromkeys(without_hand, "no hand in most frames")
    usable = [(clip, motion) for clip, motion in trimmed if clip.id not in skipped]
    if not usable:
        raise CorpusError(EMPTY_MESSAGE)
    return CollectedRecordings(usable, aspects, skipped)


def calibrate_lexicon(collected: CollectedRecordings, counts: Mapping[str, int] | None = None) -> Lexicon:
    """Return the lexicon with calibrated sources.

    ``counts`` is the number of occurrences of each word in the composed corpus: it weights the recordings in the
    calibration, and words without a count are left out.
    """
    recordings = collected.recordings
    calibrations = calibrate(recordings, collected.aspects, _weights(recordings, counts))
    exemplars = [
        Exemplar(
            clip.id, clip.gloss or "", clip.split, clip.source, apply_calibration(motion, calibrations[clip.source])
        )
        for clip, motion in recordings
        if counts is None or clip.gloss in counts
    ]
    return Lexicon(exemplars, calibrations, _relaxed([motion for _, motion in recordings]), collected.skipped)


def _relaxed(motions: list[Motion]) -> np.ndarray:
    """Return the hands at rest: among the lowest 5 % of frames, the one nearest their median.

    A hand that is in no recording is the mirrored other hand.
    """
    hands: dict[int, np.ndarray] = {}
    for hand in (LEFT, RIGHT):
        height = np.concatenate([m.wrists[m.seen[:, hand], hand, 1] for m in motions])
        if not len(height):
            continue
        low = np.concatenate([m.shapes[m.seen[:, hand], hand] for m in motions])[height >= np.quantile(height, 0.95)]
        facing = low[np.linalg.norm(low[:, MIDDLE_KNUCKLE], axis=-1) > 0.8]  # palm facing the camera
        low = facing if len(facing) else low
        hands[hand] = low[np.square(low - np.median(low, axis=0)).sum((1, 2)).argmin()]
    flip = np.array([-1.0, 1.0])
    return np.stack([hands.get(LEFT, hands.get(RIGHT, 0) * flip), hands.get(RIGHT, hands.get(LEFT, 0) * flip)])


def _usable_motion(clip: Clip) -> Motion | str:
    """Return the motion of a recording, or the reason why it is unusable."""
    if clip.gloss is None:
        return "no gloss"
    motion = from_poses(clip.poses, clip.width / clip.height if clip.width and clip.height else None)
    return "fewer than three frames, no face or no hand" if motion is None or len(motion) < 3 else motion


def word_counts(signs: Mapping[str, Mapping[str, Any]]) -> Counter[str]:
    """Count the occurrences of each word, given ``word`` and ``count`` of each gloss in ``signs``."""
    counts: Counter[str] = Counter()
    for sign in signs.values():
        counts[sign["word"]] += sign["count"]
    return counts


def _weights(kept: list[tuple[Clip, Motion]], counts: Mapping[str, int] | None) -> list[float]:
    """Return the expected number of uses of each recording."""
    if counts is None:
        return [1.0] * len(kept)
    recordings = Counter(clip.gloss for clip, _ in kept)
    return [counts.get(clip.gloss or "", 0) / recordings[clip.gloss] for clip, _ in kept]


def _prefer_several(recordings: list[tuple[Clip, Motion]]) -> list[tuple[Clip, Motion]]:
    """Keep only sources with a recording per split for words that have such a source."""
    counts = Counter((clip.gloss, clip.source) for clip, _ in recordings)
    with_several = {gloss for (gloss, _), number in counts.items() if number >= 3}
    return [(c, m) for c, m in recordings if c.gloss not in with_several or counts[c.gloss, c.source] >= 3]
