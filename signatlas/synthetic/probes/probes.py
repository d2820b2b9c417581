"""Probes: what a model could read off a composed corpus without looking at the signs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from signatlas.corpus.clips import Clip
from signatlas.errors import CorpusError
from signatlas.pose import skeleton as sk
from signatlas.pose.normalize import normalize
from signatlas.synthetic.composition.style import generator

SEAM_FRAMES = 2  # how near to a boundary counts as at it


@dataclass(frozen=True)
class Frames:
    """Frames to classify: ``features`` [N, D], ``labels`` bool [N]."""

    features: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> Frames:
        held = list(parts)
        if not sum(len(labels) for _, labels in held):
            raise CorpusError("too few connected signs to probe: clips of two signs or more are needed in each split")
        return cls(np.concatenate([f for f, _ in held]), np.concatenate([y for _, y in held]))


def single_frames(clip: Clip) -> np.ndarray:
    """[T, 2 + 2 x 42 + 2 x 2]: nose, hands about the nose, and which hands are there; normalized, missing is zero."""
    aspect = clip.width / clip.height if clip.width and clip.height else None
    points = normalize(clip.poses, aspect)[..., :2]
    hands = points[:, sk.NUM_BODY :] - points[:, sk.NOSE, None]
    there = np.isfinite(np.stack([points[:, sk.LEFT_HAND, 0], points[:, sk.RIGHT_HAND, 0]], 1)).all(-1)
    flat = np.concatenate([points[:, sk.NOSE], hands.reshape(len(points), -1)], axis=1)
    return np.concatenate([np.nan_to_num(flat), there, ~there], axis=1)


def source_frames(clips: Iterable[Clip], special: frozenset[str]) -> Frames:
    """Frames of signs, each labeled by whether its exemplar is one of ``special`` (ids).

    A clip with gloss spans gives the frames inside them; one without is a sign, and its own exemplar.
    """

    def parts() -> Iterable[tuple[np.ndarray, np.ndarray]]:
        for clip in clips:
            features = single_frames(clip)
            if clip.gloss_spans is None or clip.exemplars is None:
                yield features, np.full(len(features), clip.id in special)
                continue
            for (first, end), exemplar in zip(clip.gloss_spans, clip.exemplars, strict=True):
                yield features[first:end], np.full(end - first, exemplar in special)

    return Frames.of(parts())


def seam_frames(clips: Iterable[Clip], *, window: int = 0) -> Frames:
    """Velocity and jerk of each frame between the first and the last sign, and whether a boundary is near.

    Features are logarithms of speed and jerk of both wrists and of both hands' shapes, in palms a frame; ``window``
    adds those of as many frames before and after.
    """

    def parts() -> Iterable[tuple[np.ndarray, np.ndarray]]:
        for clip in clips:
            spans = clip.gloss_spans or ()
            if len(spans) < 2:
                continue
            features = _kinematics(clip)
            edges = np.array([edge for first, end in spans for edge in (first, end - 1)])
            near = (np.abs(np.arange(len(features))[:, None] - edges[None]) <= SEAM_FRAMES).any(1)
            shifted = [np.roll(features, -by, axis=0) for by in range(-window, window + 1)]
            inside = slice(spans[0][0] + SEAM_FRAMES + 1, spans[-1][1] - SEAM_FRAMES - 1)
            yield np.concatenate(shifted, axis=1)[inside], near[inside]

    return Frames.of(parts())


def _kinematics(clip: Clip) -> np.ndarray:
    """[T, 8]: log speed and log jerk of left wrist, right wrist, left shape, right shape."""
    from signatlas.synthetic.composition.motion import from_poses

    motion = from_poses(clip.poses)
    if motion is None:
        return np.zeros((clip.num_frames, 8))
    columns = []
    for hand in (0, 1):
        for values in (motion.wrists[:, hand], motion.shapes[:, hand].reshape(len(motion), -1)):
            velocity = np.gradient(values, axis=0)
            jerk = np.gradient(np.gradient(velocity, axis=0), axis=0)
            columns += [np.linalg.norm(velocity, axis=-1), np.linalg.norm(jerk, axis=-1)]
    return np.log(np.stack(columns, axis=1) + 1e-3)


def balanced_accuracy(train: Frames, test: Frames) -> float:
    """Balanced accuracy, 0..1, of a class-weighted logistic regression on standardized features; chance is 0.5."""
    from sklearn.metrics import balanced_accuracy_score

    return float(
        balanced_accuracy_score(test.labels, _linear().fit(train.features, train.labels).predict(test.features))
    )


def auc(train: Frames, test: Frames, *, boosted: bool = False) -> float:
    """Area under the ROC curve, 0..1, of the same or of gradient-boosted trees; chance is 0.5."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    model = HistGradientBoostingClassifier(random_state=0, class_weight="balanced") if boosted else _linear()
    model.fit(train.features, train.labels)
    return float(roc_auc_score(test.labels, model.predict_proba(test.features)[:, 1]))


def _linear() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000, C=0.1))


def subset(frames: Frames, most: int, seed: int = 0) -> Frames:
    """At most ``most`` of the frames, drawn at random."""
    if len(frames.labels) <= most:
        return frames
    chosen = generator(seed, "probe", most).choice(len(frames.labels), most, replace=False)
    return Frames(frames.features[chosen], frames.labels[chosen])
