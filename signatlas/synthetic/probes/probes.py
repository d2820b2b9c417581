"""Probes for shortcuts in composed corpora: the source of a sign from one frame, seams from velocity and jerk."""

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

SEAM_FRAMES = 2  # frames at most this far from a boundary are labeled as boundary


@dataclass(frozen=True)
class Frames:
    """Frames to classify: ``features`` [N, D], ``labels`` bool [N]."""

    features: np.ndarray
    labels: np.ndarray

    @classmethod
    def concatenate(cls, parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> Frames:
        """Concatenate (features, labels) of clips. Raises CorpusError if there is no frame."""
        chunks = list(parts)
        if not sum(len(labels) for _, labels in chunks):
            raise CorpusError("too few connected signs to probe: each split needs clips of at least two signs")
        return cls(np.concatenate([f for f, _ in chunks]), np.concatenate([y for _, y in chunks]))


def single_frames(clip: Clip) -> np.ndarray:
    """Return features [T, 2 + 2 x 42 + 2 x 2]: normalized nose, hands relative to it (0 if missing), hand presence."""
    aspect = clip.width / clip.height if clip.width and clip.height else None
    points = normalize(clip.poses, aspect)[..., :2]
    hands = points[:, sk.NUM_BODY :] - points[:, sk.NOSE, None]
    present = np.isfinite(np.stack([points[:, sk.LEFT_HAND, 0], points[:, sk.RIGHT_HAND, 0]], 1)).all(-1)
    flat = np.concatenate([points[:, sk.NOSE], hands.reshape(len(points), -1)], axis=1)
    return np.concatenate([np.nan_to_num(flat), present, ~present], axis=1)


def source_frames(clips: Iterable[Clip], positive: frozenset[str]) -> Frames:
    """Return the frames of signs, labeled by whether the id of their exemplar is in ``positive``.

    Of a clip with gloss spans, the frames inside them are taken; a clip without spans is itself an exemplar.
    """

    def parts() -> Iterable[tuple[np.ndarray, np.ndarray]]:
        for clip in clips:
            features = single_frames(clip)
            if clip.gloss_spans is None or clip.exemplars is None:
                yield features, np.full(len(features), clip.id in positive)
                continue
            for (first, end), exemplar in zip(clip.gloss_spans, clip.exemplars, strict=True):
                yield features[first:end], np.full(end - first, exemplar in positive)

    return Frames.concatenate(parts())


def seam_frames(clips: Iterable[Clip], *, window: int = 0) -> Frames:
    """Return the frames between the first and the last sign, labeled by whether a sign boundary is near.

    Features are logarithms of speed and jerk of the wrists and hand shapes, in palms per frame, of the frame and of
    ``window`` frames before and after it.
    """

    def parts() -> Iterable[tuple[np.ndarray, np.ndarray]]:
        for clip in clips:
            spans = clip.gloss_spans or ()
            if len(spans) < 2:
                continue
            features = _kinematics(clip)
            edges = np.array([edge for first, end in spans for edge in (first, end - 1)])
            near = (np.abs(np.arange(len(features))[:, None] - edges[None]) <= SEAM_FRAMES).any(1)
            shifted = [np.roll(features, -offset, axis=0) for offset in range(-window, window + 1)]
            inside = slice(spans[0][0] + SEAM_FRAMES + 1, spans[-1][1] - SEAM_FRAMES - 1)
            yield np.concatenate(shifted, axis=1)[inside], near[inside]

    return Frames.concatenate(parts())


def _kinematics(clip: Clip) -> np.ndarray:
    """Return log speed and log jerk [T, 8], of wrist and shape of the left hand, then of the right hand."""
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
    """Return the balanced accuracy, 0..1, of a class-weighted logistic regression on standardized features.

    Chance level is 0.5.
    """
    from sklearn.metrics import balanced_accuracy_score

    return float(
        balanced_accuracy_score(
            test.labels, _logistic_regression().fit(train.features, train.labels).predict(test.features)
        )
    )


def auc(train: Frames, test: Frames, *, boosted: bool = False) -> float:
    """Return the area under the ROC curve, 0..1, of logistic regression or gradient-boosted trees; chance is 0.5."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    model = (
        HistGradientBoostingClassifier(random_state=0, class_weight="balanced") if boosted else _logistic_regression()
    )
    model.fit(train.features, train.labels)
    return float(roc_auc_score(test.labels, model.predict_proba(test.features)[:, 1]))


def _logistic_regression() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000, C=0.1))


def subset(frames: Frames, max_frames: int, seed: int = 0) -> Frames:
    """Return a random sample of at most ``max_frames`` frames."""
    if len(frames.labels) <= max_frames:
        return frames
    indices = generator(seed, "probe", max_frames).choice(len(frames.labels), max_frames, replace=False)
    return Frames(frames.features[indices], frames.labels[indices])
