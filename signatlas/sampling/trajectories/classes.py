"""Classes of negative pairs by their similarity trajectories: pushed apart, pulled together, or neither (SCL-SLT)."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

from signatlas.errors import FeatureError
from signatlas.sampling.trajectories.similarities import Trajectories

CLASSES = ("H->L", "H->H", "L->H", "L->L")  # similarity early -> late: high or low
BINS = 40


class NegativeClasses(BaseModel):
    """Shares and mean similarities of the classes of negatives; curves have one value a checkpoint."""

    model_config = ConfigDict(frozen=True)

    epochs: list[int]
    clips: int  # of a sample, whose pairs were compared
    clips_of: int
    pairs: int  # negatives among them: clips and texts of other clips, without identical texts
    thresholds: tuple[float, float]  # early, late: high is above
    rule: str
    shares: dict[str, float]
    curves: dict[str, list[float | None]]  # None for an empty class
    positives: list[float]  # mean similarity of clips and their own texts
    negatives: list[float]
    histogram: list[list[int]]  # pairs by early (rows) and late similarity
    edges: list[float]


def classify_negatives(
    trajectories: Trajectories,
    *,
    clips: int = 500,
    quantile: float | None = None,
    threshold: float | None = None,
    seed: int = 0,
) -> NegativeClasses:
    """Classify the negatives among ``clips`` clips, drawn by ``seed``, from the first to the last checkpoint.

    High is above the mean of the negatives at that checkpoint, so that a change of all similarities alone moves no
    pair; with ``quantile`` above that quantile, with ``threshold`` above that similarity at both ends. Raises
    FeatureError if there are no negatives.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(trajectories))[:clips])
    groups = trajectories.token_caches[0].groups[rows]
    negative = groups[:, None] != groups
    if not negative.any():
        raise FeatureError(f"{trajectories.path}: {len(rows)} clips with identical texts have no negatives")
    similarities = [trajectories.similarity(checkpoint, rows, rows) for checkpoint in range(len(trajectories.epochs))]
    early, late = similarities[0][negative], similarities[-1][negative]
    if threshold is not None:
        thresholds, rule = (threshold, threshold), "given"
    elif quantile is not None:
        thresholds, rule = (
            (float(np.quantile(early, quantile)), float(np.quantile(late, quantile))),
            f"quantile {quantile:g}",
        )
    else:
        thresholds, rule = (_mean(early), _mean(late)), "mean"
    high_early, high_late = early > thresholds[0], late > thresholds[1]
    masks = (high_early & ~high_late, high_early & high_late, ~high_early & high_late, ~high_early & ~high_late)
    members = dict(zip(CLASSES, masks, strict=True))
    values = [similarity[negative] for similarity in similarities]
    edges = np.linspace(min(early.min(), late.min()), max(early.max(), late.max()), BINS + 1)
    return NegativeClasses(
        epochs=trajectories.epochs, clips=len(rows), clips_of=len(trajectories), pairs=int(negative.sum()),
        thresholds=thresholds, rule=rule, shares={name: float(mask.mean()) for name, mask in members.items()},
        curves={name: [_mean(x[mask]) if mask.any() else None for x in values] for name, mask in members.items()},
        positives=[_mean(np.diag(similarity)) for similarity in similarities], negatives=[_mean(x) for x in values],
        histogram=np.histogram2d(early, late, bins=(edges, edges))[0].astype(int).tolist(), edges=edges.tolist(),
    )  # fmt: skip


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64))
