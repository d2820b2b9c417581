"""Calibration of the sources of a lexicon: aspect ratio, frame rate, positions and shapes of hands."""

from __future__ import annotations

import warnings
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from signatlas.corpus.clips import Clip
from signatlas.synthetic.composition.motion import LEFT, MIDDLE_KNUCKLE, RIGHT, Motion
from signatlas.synthetic.composition.trimming import SHORTEST, shorten_holds

FPS = 25.0
SMOOTHING = 1.2  # frames; removes detector jitter, which differs between recordings
CALIBRATION_CLIPS = 20  # sources with fewer clips are not calibrated
INDEX_KNUCKLE, LITTLE_KNUCKLE = 5, 17
VERTICAL = np.deg2rad(30)  # a palm within this angle of an axis counts as lying along it


@dataclass(frozen=True)
class Calibration:
    """Transform of all recordings of a source, so that its camera does not give the source away.

    ``aspect`` multiplies x; ``time`` is the number of lexicon frames per source frame; ``gain`` and ``shift`` [2, 2]
    (hand, axis) map wrist positions to the mean and deviation over all sources; ``shape_gain`` and ``shape_shift``
    [2, 21, 2] (hand, point, axis) do the same to hand points relative to the wrist, which depend on the viewpoint.
    """

    aspect: float
    time: float
    gain: np.ndarray
    shift: np.ndarray
    shape_gain: np.ndarray
    shape_shift: np.ndarray


def estimate_aspect(motions: list[Motion]) -> float:
    """Estimate the unknown width/height of a source from the proportions of palms; multiply x by it.

    The ratio of length to breadth of a palm does not depend on its orientation. In image units it is divided by the
    aspect for upright palms and multiplied by it for horizontal ones.
    """
    if len(motions) < CALIBRATION_CLIPS:
        return 1.0
    hands = np.concatenate([m.shapes[:, h][m.seen[:, h]] for m in motions for h in (LEFT, RIGHT)])
    palms, across = hands[:, MIDDLE_KNUCKLE], hands[:, LITTLE_KNUCKLE] - hands[:, INDEX_KNUCKLE]
    ratio = np.linalg.norm(palms, axis=-1) / np.maximum(np.linalg.norm(across, axis=-1), 1e-6)
    angle = np.arctan2(np.abs(palms[:, 1]), np.abs(palms[:, 0]))
    vertical_ratios, horizontal_ratios = ratio[angle > np.pi / 2 - VERTICAL], ratio[angle < VERTICAL]
    return (
        float(np.sqrt(np.median(vertical_ratios) / np.median(horizontal_ratios)))
        if len(vertical_ratios) and len(horizontal_ratios)
        else 1.0
    )


def stretch(motion: Motion, aspect: float) -> Motion:
    """Multiply x by ``aspect``, and rescale to a median palm length of 1."""
    scale = np.array([aspect, 1.0])
    shapes = motion.shapes * scale
    palms = np.linalg.norm(shapes[:, :, MIDDLE_KNUCKLE], axis=-1)[motion.seen]
    palm = np.median(palms)
    return Motion(motion.wrists * scale / palm, shapes / palm, motion.seen)


def calibrate(
    trimmed: list[tuple[Clip, Motion]], aspects: dict[str, float], weights: list[float]
) -> dict[str, Calibration]:
    """Return the calibration of each source. ``weights`` are those of the recordings in their means."""
    by_source: dict[str, list[tuple[Clip, Motion]]] = defaultdict(list)
    by_weight: dict[str, list[float]] = defaultdict(list)
    for (clip, motion), weight in zip(trimmed, weights, strict=True):
        by_source[clip.source].append((clip, motion))
        by_weight[clip.source].append(weight)
    frames = {s: float(np.median([len(m) / (c.fps or FPS) * FPS for c, m in items])) for s, items in by_source.items()}
    calibrated_sources = [s for s, items in by_weight.items() if np.count_nonzero(items) >= CALIBRATION_CLIPS]
    target = float(np.exp(np.mean([np.log(frames[s]) for s in calibrated_sources]))) if calibrated_sources else 0.0
    calibrations = {}
    wrists = _shared_moments({s: [(m.wrists, m.seen) for _, m in by_source[s]] for s in calibrated_sources}, by_weight)
    shapes = _shared_moments({s: [(m.shapes, m.seen) for _, m in by_source[s]] for s in calibrated_sources}, by_weight)
    for source, items in by_source.items():
        # The frame rate is estimated from the length of signs only if it is unknown.
        estimate_rate = source in calibrated_sources and not all(c.fps for c, _ in items)
        time = target / frames[source] if estimate_rate else 1.0
        neutral = (np.ones(1), np.zeros(1))
        calibrations[source] = Calibration(
            aspects[source], time, *wrists.get(source, neutral), *shapes.get(source, neutral)
        )
    return calibrations


def _shared_moments(
    sources: dict[str, list[tuple[np.ndarray, np.ndarray]]], weights: dict[str, list[float]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return gain and shift of each source that give all sources the same mean and deviation.

    Each part is (values [T, 2, ...], seen [T, 2]); only frames with a hand count. The weight of a part is divided
    among its frames.
    """
    moments = {source: _moments(parts, weights[source]) for source, parts in sources.items()}
    if not moments:
        return {}
    # A source without a hand (NaN) does not count in that hand's mean.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        mean, spread = (np.nanmean([m[k] for m in moments.values()], axis=0) for k in (0, 1))
    transforms = {}
    for source, (source_mean, source_spread) in moments.items():
        gain = np.where(source_spread > 1e-6, spread / np.maximum(source_spread, 1e-6), 1.0)
        transforms[source] = (gain, np.nan_to_num(mean - gain * source_mean))
    return transforms


def _moments(parts: list[tuple[np.ndarray, np.ndarray]], weights: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return weighted mean and standard deviation [2, ...] of values per hand; NaN for a hand that is never seen."""
    means, spreads = [], []
    for hand in (LEFT, RIGHT):
        values = np.concatenate([part[seen[:, hand], hand] for part, seen in parts])
        frame_weights = np.concatenate(
            [np.full(seen[:, hand].sum(), w / len(seen)) for (_, seen), w in zip(parts, weights, strict=True)]
        )
        if frame_weights.sum() <= 0:
            values, frame_weights = np.full((1, *parts[0][0].shape[2:]), np.nan), np.ones(1)
        mean = np.average(values, axis=0, weights=frame_weights)
        means.append(mean)
        spreads.append(np.sqrt(np.average(np.square(values - mean), axis=0, weights=frame_weights)))
    return np.stack(means), np.stack(spreads)


def apply_calibration(motion: Motion, calibration: Calibration) -> Motion:
    """Calibrate, resample and smooth a motion, and shorten its holds."""
    length = max(SHORTEST, round(len(motion) * calibration.time))
    moved = Motion(
        motion.wrists * calibration.gain + calibration.shift,
        motion.shapes * calibration.shape_gain + calibration.shape_shift,
        motion.seen,
    )
    return shorten_holds(moved.at(np.linspace(0, len(motion) - 1, length)).smoothed(SMOOTHING))
