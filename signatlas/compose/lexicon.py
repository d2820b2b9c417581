"""The lexicon: isolated recordings brought to one hand, face, palm size, aspect, frame rate and smoothness."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from signatlas.compose.motion import LEFT, MIDDLE_KNUCKLE, RIGHT, Motion, from_poses, uses
from signatlas.corpus.clips import SPLITS, Clip
from signatlas.errors import CorpusError

FPS = 25.0
SMOOTHING = 1.2  # frames; takes away the detector's own tremble, which differs between recordings
RISEN = 0.35  # a sign has begun when this share of the way up is left
REACHING = 1.6  # palms
SHORTEST = 6  # frames a trimmed sign keeps
CALIBRATION_CLIPS = 20  # a source with fewer says too little about its camera
EVENNESS = 0.9  # 0 keeps a sign's own timing, 1 gives it one speed throughout
NOTHING = "no recording of the lexicon shows a face and a hand: choose another corpus"
INDEX_KNUCKLE, LITTLE_KNUCKLE = 5, 17
IDLE_MOVEMENT, IDLE_BELOW = 0.5, 1.5  # palms
VERTICAL = np.deg2rad(30)  # a palm within this angle of an axis counts as lying along it


@dataclass(frozen=True)
class Exemplar:
    """One recording of a sign, ready to be put into a sentence."""

    id: str
    word: str
    split: str
    source: str
    motion: Motion


@dataclass(frozen=True)
class Calibration:
    """What is done to every recording of one source so that no source can be told from another by its camera.

    ``aspect`` multiplies x; ``time`` is the frames of the lexicon for one of the source; ``gain`` and ``shift`` [2, 2]
    (hand, axis) bring wrists to the places that all sources share on average; ``bend`` and ``lean`` [2, 21, 2] (hand,
    point, axis) do the same to the hand's points about the wrist, which lie otherwise as the camera stood.
    """

    aspect: float
    time: float
    gain: np.ndarray
    shift: np.ndarray
    bend: np.ndarray
    lean: np.ndarray


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
    aspects = {s: _aspect([m for c, m in kept if c.source == s]) for s in {clip.source for clip, _ in kept}}
    trimmed = [(clip, without_idle(trim(_stretched(motion, aspects[clip.source])))) for clip, motion in kept]
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
    calibrations = _calibrate(recordings, collected.aspects, _weights(recordings, counts))
    exemplars = [
        Exemplar(clip.id, clip.gloss or "", clip.split, clip.source, _calibrated(motion, calibrations[clip.source]))
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


def left_handed(motion: Motion) -> bool:
    """Whether the left hand alone signs, or does clearly more than the right."""
    shares = motion.seen.mean(0)
    if shares[RIGHT] == 0 or shares[LEFT] == 0:
        return bool(shares[LEFT] > shares[RIGHT])
    path = [np.linalg.norm(np.diff(motion.wrists[motion.seen[:, h], h], axis=0), axis=-1).sum() for h in (LEFT, RIGHT)]
    height = [-motion.wrists[motion.seen[:, h], h, 1].mean() for h in (LEFT, RIGHT)]
    return bool(path[LEFT] > 1.5 * path[RIGHT] and height[LEFT] > height[RIGHT] + 1.0)


def _aspect(motions: list[Motion]) -> float:
    """What the picture's unknown width/height made of hands: x must be multiplied by it.

    A palm has one ratio of length to breadth however it is turned. Upright, the picture's scales divide it by the
    aspect; lying, they multiply it.
    """
    if len(motions) < CALIBRATION_CLIPS:
        return 1.0
    hands = np.concatenate([m.shapes[:, h][m.seen[:, h]] for m in motions for h in (LEFT, RIGHT)])
    palms, across = hands[:, MIDDLE_KNUCKLE], hands[:, LITTLE_KNUCKLE] - hands[:, INDEX_KNUCKLE]
    ratio = np.linalg.norm(palms, axis=-1) / np.maximum(np.linalg.norm(across, axis=-1), 1e-6)
    angle = np.arctan2(np.abs(palms[:, 1]), np.abs(palms[:, 0]))
    upright, lying = ratio[angle > np.pi / 2 - VERTICAL], ratio[angle < VERTICAL]
    return float(np.sqrt(np.median(upright) / np.median(lying))) if len(upright) and len(lying) else 1.0


def _stretched(motion: Motion, aspect: float) -> Motion:
    """x times ``aspect``, and the median palm one again."""
    wide = np.array([aspect, 1.0])
    shapes = motion.shapes * wide
    palms = np.linalg.norm(shapes[:, :, MIDDLE_KNUCKLE], axis=-1)[motion.seen]
    palm = np.median(palms)
    return Motion(motion.wrists * wide / palm, shapes / palm, motion.seen)


def trim(motion: Motion) -> Motion:
    """Without the way up from rest and back: from and to where the higher hand is most of the way up.

    A hand at either end that looks far larger than usual reaches for the camera or a button, and is cut off first.
    """
    motion = _before_reaching(motion)
    height = np.where(motion.seen, -motion.wrists[..., 1], -np.inf).max(1)
    known = np.flatnonzero(np.isfinite(height))
    height = np.interp(np.arange(len(height)), known, height[known])
    top = np.percentile(height, 80)
    first, last = 0, len(height) - 1
    for end, step in ((0, 1), (len(height) - 1, -1)):
        low = height[end]
        if top - low < 1.0:  # no rest position here
            continue
        risen = np.flatnonzero(height >= top - RISEN * (top - low))
        if step > 0:
            first = int(risen[0])
        else:
            last = int(risen[-1])
    if last - first + 1 < SHORTEST:
        return motion
    return motion.cut(first, last + 1)


def _before_reaching(motion: Motion) -> Motion:
    palms = np.where(motion.seen, np.linalg.norm(motion.shapes[:, :, MIDDLE_KNUCKLE], axis=-1), 0).max(1)
    usual = np.flatnonzero((palms > 0) & (palms < REACHING))
    if len(usual) < SHORTEST:
        return motion
    return motion.cut(int(usual[0]), int(usual[-1]) + 1)


def without_idle(motion: Motion) -> Motion:
    """The other hand is not part of a sign while it only hangs in view: still, and well below the one that signs."""
    if not (motion.has(LEFT) and motion.has(RIGHT)):
        return motion
    left, right = (motion.wrists[motion.seen[:, h], h] for h in (LEFT, RIGHT))
    moved = np.linalg.norm(left - left.mean(0), axis=-1).mean()
    lower = np.median(left[:, 1]) - np.median(right[:, 1])
    if moved > IDLE_MOVEMENT or lower < IDLE_BELOW:
        return motion
    return Motion(motion.wrists, motion.shapes, motion.seen & np.array([False, True]))


def _calibrate(
    trimmed: list[tuple[Clip, Motion]], aspects: dict[str, float], weights: list[float]
) -> dict[str, Calibration]:
    by_source: dict[str, list[tuple[Clip, Motion]]] = defaultdict(list)
    by_weight: dict[str, list[float]] = defaultdict(list)
    for (clip, motion), weight in zip(trimmed, weights, strict=True):
        by_source[clip.source].append((clip, motion))
        by_weight[clip.source].append(weight)
    frames = {s: float(np.median([len(m) / (c.fps or FPS) * FPS for c, m in held])) for s, held in by_source.items()}
    large = [s for s, held in by_weight.items() if np.count_nonzero(held) >= CALIBRATION_CLIPS]
    target = float(np.exp(np.mean([np.log(frames[s]) for s in large]))) if large else 0.0
    found = {}
    wrists = _shared_moments({s: [(m.wrists, m.seen) for _, m in by_source[s]] for s in large}, by_weight)
    shapes = _shared_moments({s: [(m.shapes, m.seen) for _, m in by_source[s]] for s in large}, by_weight)
    for source, held in by_source.items():
        # Where every frame rate is known nothing need be guessed from how long signs last.
        guessed = source in large and not all(c.fps for c, _ in held)
        time = target / frames[source] if guessed else 1.0
        neutral = (np.ones(1), np.zeros(1))
        found[source] = Calibration(aspects[source], time, *wrists.get(source, neutral), *shapes.get(source, neutral))
    return found


def _shared_moments(
    sources: dict[str, list[tuple[np.ndarray, np.ndarray]]], weights: dict[str, list[float]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Gain and shift of each source that give all of them one mean and deviation over the frames that show a hand.

    Each part is (values [T, 2, ...], seen [T, 2]), its frames together as heavy as its weight.
    """
    moments = {source: _moments(parts, weights[source]) for source, parts in sources.items()}
    if not moments:
        return {}
    # A source that never shows a hand (NaN) has no say in where it is.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        mean, spread = (np.nanmean([m[k] for m in moments.values()], axis=0) for k in (0, 1))
    found = {}
    for source, (own_mean, own_spread) in moments.items():
        gain = np.where(own_spread > 1e-6, spread / np.maximum(own_spread, 1e-6), 1.0)
        found[source] = (gain, np.nan_to_num(mean - gain * own_mean))
    return found


def _moments(parts: list[tuple[np.ndarray, np.ndarray]], weights: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation [2, ...] of values by hand; NaN for a hand that is never there."""
    means, spreads = [], []
    for hand in (LEFT, RIGHT):
        values = np.concatenate([held[seen[:, hand], hand] for held, seen in parts])
        each = np.concatenate(
            [np.full(seen[:, hand].sum(), w / len(seen)) for (_, seen), w in zip(parts, weights, strict=True)]
        )
        if each.sum() <= 0:
            values, each = np.full((1, *parts[0][0].shape[2:]), np.nan), np.ones(1)
        mean = np.average(values, axis=0, weights=each)
        means.append(mean)
        spreads.append(np.sqrt(np.average(np.square(values - mean), axis=0, weights=each)))
    return np.stack(means), np.stack(spreads)


def _calibrated(motion: Motion, by: Calibration) -> Motion:
    length = max(SHORTEST, round(len(motion) * by.time))
    moved = Motion(motion.wrists * by.gain + by.shift, motion.shapes * by.bend + by.lean, motion.seen)
    return evened(moved.at(np.linspace(0, len(motion) - 1, length)).smoothed(SMOOTHING))


def evened(motion: Motion) -> Motion:
    """With shorter holds: shown alone a sign is held at both ends and between its movements, in a sentence hardly."""
    wrists = np.linalg.norm(np.diff(motion.wrists, axis=0), axis=-1)
    shapes = np.linalg.norm(np.diff(motion.shapes, axis=0), axis=-1).mean(-1)
    speed = ((wrists + shapes) * motion.seen[1:]).max(1)
    time = (speed / max(speed.mean(), 1e-6) + 0.1) ** EVENNESS
    passed = np.concatenate([[0], np.cumsum(time)])
    even = motion.at(np.interp(np.linspace(0, passed[-1], len(motion)), passed, np.arange(len(motion))))
    return Motion(even.wrists.astype(np.float32), even.shapes.astype(np.float32), even.seen)
