"""The lexicon: isolated recordings brought to one hand, face, palm size, aspect, frame rate and smoothness."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from signatlas.corpus.clips import SPLITS, Clip
from signatlas.errors import CorpusError
from signatlas.synthetic.composition.calibration import Calibration, apply, aspect, calibrate, stretched
from signatlas.synthetic.composition.motion import LEFT, MIDDLE_KNUCKLE, RIGHT, Motion, from_poses, uses
from signatlas.synthetic.composition.trimming import left_handed, trim, without_idle

NOTHING = "no recording of the lexicon shows a face and a hand: choose another corpus"


@dataclass(frozen=True)
class Exemplar:
    """One recording of a sign, ready to be put into a sentence."""

    id: str
    word: str
    split: str
    source: str
    motion: Motion


class Lexicon:
    """Exemplars by word and split. ``calibrations`` says what was done to each source.

    ``relaxed`` [2, 21, 2] are the hands as they hang.
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
        """Number of recordings of each word."""
        return {word: len(held) for word, held in self._by_word.items()}

    def shared(self, word: str) -> bool:
        """Whether some split has no recording of ``word`` and must sign it from those of the others."""
        return len({e.split for e in self._by_word[word]}) < len(SPLITS)

    def recordings(self, word: str, split: str) -> list[Exemplar]:
        """The exemplars that sentences of ``split`` may use: its own, or all where it has none."""
        if word not in self._by_word:
            raise CorpusError(f"the lexicon has no recording of '{word}'")
        held = self._by_word[word]
        return [e for e in held if e.split == split] or held


class Collected(NamedTuple):
    """Recordings on the way into a lexicon: cut, right-handed, in palms and true proportions, each as its own camera
    saw it."""

    recordings: list[tuple[Clip, Motion]]
    aspects: dict[str, float]
    skipped: dict[str, str]


def build(clips: Iterable[Clip]) -> Lexicon:
    """The lexicon of isolated recordings. A word with several in one source is taken from there alone.

    Recordings without a face or a hand are skipped and named in ``Lexicon.skipped``. Raises CorpusError when none is
    left.
    """
    return calibrated(collect(clips))


def collect(clips: Iterable[Clip]) -> Collected:
    """The first half of :func:`build`, which does not depend on how often a word is signed."""
    raw: list[tuple[Clip, Motion]] = []
    skipped: dict[str, str] = {}
    for clip in clips:
        motion = _motion(clip)
        if isinstance(motion, str):
            skipped[clip.id] = motion
        else:
            raw.append((clip, motion.mirrored() if left_handed(motion) else motion))
    if not raw:
        raise CorpusError(NOTHING)
    kept = _prefer_several(raw)
    aspects = {s: aspect([m for c, m in kept if c.source == s]) for s in {clip.source for clip, _ in kept}}
    trimmed = [(clip, without_idle(trim(stretched(motion, aspects[clip.source])))) for clip, motion in kept]
    hidden = [clip.id for clip, motion in trimmed if not any(uses(motion, hand) for hand in (LEFT, RIGHT))]
    skipped |= dict.fromkeys(hidden, "no hand in most of it")
    usable = [(clip, motion) for clip, motion in trimmed if clip.id not in skipped]
    if not usable:
        raise CorpusError(NOTHING)
    return Collected(usable, aspects, skipped)


def calibrated(collected: Collected, counts: Mapping[str, int] | None = None) -> Lexicon:
    """The second half: sources brought together over all recordings.

    ``counts`` says how often each word will be signed: sources are then brought together as they will be seen, and
    words that are not in it count for nothing.
    """
    recordings = collected.recordings
    calibrations = calibrate(recordings, collected.aspects, _weights(recordings, counts))
    exemplars = [
        Exemplar(clip.id, clip.gloss or "", clip.split, clip.source, apply(motion, calibrations[clip.source]))
        for clip, motion in recordings
        if counts is None or clip.gloss in counts
    ]
    return Lexicon(exemplars, calibrations, _relaxed([motion for _, motion in recordings]), collected.skipped)


def _relaxed(motions: list[Motion]) -> np.ndarray:
    """Hands at rest: of the lowest twentieth of all frames the one nearest their median.

    A hand that no recording shows is the other one, mirrored.
    """
    found: dict[int, np.ndarray] = {}
    for hand in (LEFT, RIGHT):
        height = np.concatenate([m.wrists[m.seen[:, hand], hand, 1] for m in motions])
        if not len(height):
            continue
        low = np.concatenate([m.shapes[m.seen[:, hand], hand] for m in motions])[height >= np.quantile(height, 0.95)]
        turned = low[np.linalg.norm(low[:, MIDDLE_KNUCKLE], axis=-1) > 0.8]  # with the palm to the camera
        low = turned if len(turned) else low
        found[hand] = low[np.square(low - np.median(low, axis=0)).sum((1, 2)).argmin()]
    other = np.array([-1.0, 1.0])
    return np.stack([found.get(LEFT, found.get(RIGHT, 0) * other), found.get(RIGHT, found.get(LEFT, 0) * other)])


def _motion(clip: Clip) -> Motion | str:
    """The motion of a recording, or why it has none to give."""
    if clip.gloss is None:
        return "no gloss"
    motion = from_poses(clip.poses, clip.width / clip.height if clip.width and clip.height else None)
    return "no face or no hand in three frames" if motion is None or len(motion) < 3 else motion


def word_counts(signs: Mapping[str, Mapping[str, Any]]) -> Counter[str]:
    """How often each word is signed; ``signs`` tells ``word`` and ``count`` of each gloss."""
    found: Counter[str] = Counter()
    for sign in signs.values():
        found[sign["word"]] += sign["count"]
    return found


def _weights(kept: list[tuple[Clip, Motion]], counts: Mapping[str, int] | None) -> list[float]:
    """Of each recording: how often it will be signed."""
    if counts is None:
        return [1.0] * len(kept)
    recordings = Counter(clip.gloss for clip, _ in kept)
    return [counts.get(clip.gloss or "", 0) / recordings[clip.gloss] for clip, _ in kept]


def _prefer_several(raw: list[tuple[Clip, Motion]]) -> list[tuple[Clip, Motion]]:
    """A word with a recording for each split in one source is taken from there alone."""
    count = Counter((clip.gloss, clip.source) for clip, _ in raw)
    rich = {gloss for (gloss, _), number in count.items() if number >= 3}
    return [(c, m) for c, m in raw if c.gloss not in rich or count[c.gloss, c.source] >= 3]
