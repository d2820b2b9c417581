"""Sources of a lexicon brought together: proportions, frame rate, places and shapes of hands."""

from __future__ import annotations

import warnings
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from signatlas.corpus.clips import Clip
from signatlas.synthetic.composition.motion import LEFT, MIDDLE_KNUCKLE, RIGHT, Motion
from signatlas.synthetic.composition.trimming import SHORTEST, evened

FPS = 25.0
SMOOTHING = 1.2  # frames; takes away the detector's own tremble, which differs between recordings
CALIBRATION_CLIPS = 20  # a source with fewer says too little about its camera
INDEX_KNUCKLE, LITTLE_KNUCKLE = 5, 17
VERTICAL = np.deg2rad(30)  # a palm within this angle of an axis counts as lying along it


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


def aspect(motions: list[Motion]) -> float:
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


def stretched(motion: Motion, aspect: float) -> Motion:
    """x times ``aspect``, and the median palm one again."""
    wide = np.array([aspect, 1.0])
    shapes = motion.shapes * wide
    palms = np.linalg.norm(shapes[:, :, MIDDLE_KNUCKLE], axis=-1)[motion.seen]
    palm = np.median(palms)
    return Motion(motion.wrists * wide / palm, shapes / palm, motion.seen)


def calibrate(
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


def apply(motion: Motion, by: Calibration) -> Motion:
    length = max(SHORTEST, round(len(motion) * by.time))
    moved = Motion(motion.wrists * by.gain + by.shift, motion.shapes * by.bend + by.lean, motion.seen)
    return evened(moved.at(np.linspace(0, len(motion) - 1, length)).smoothed(SMOOTHING))
