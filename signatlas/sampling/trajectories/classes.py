"""What became of negatives while a reference model learned: pushed apart, together, or neither (SCL-SLT)."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

from signatlas.errors import FeatureError
from signatlas.sampling.trajectories.similarities import Trajectories

CLASSES = ("H->L", "H->H", "L->H", "L->L")  # similarity early -> late: high or low
BINS = 40


class Classes(BaseModel):
    """Shares and mean similarities of the classes of negatives; ``curves`` hold a number a checkpoint."""

    model_config = ConfigDict(frozen=True)

    epochs: list[int]
    clips: int  # of a sample, whose pairs were compared
    clips_of: int
    pairs: int  # negatives among them: clips and texts of other clips, without identical texts
    thresholds: tuple[float, float]  # early, late: high is above
    rule: str
    shares: dict[str, float]
    curves: dict[str, list[float | None]]  # None where a class is empty
    positives: list[float]  # mean similarity of clips and their own texts
    negatives: list[float]
    histogram: list[list[int]]  # pairs by early (rows) and late similarity
    edges: list[float]


def classes(
    trajectories: Trajectories,
    *,
    clips: int = 500,
    quantile: float | None = None,
    threshold: float | None = None,
    seed: int = 0,
) -> Classes:
    """Classes of the negatives among ``clips`` clips and their texts, from the first to the last checkpoint.

    High is above the mean of the negatives at that checkpoint, so that a decline of all similarities alone moves no
    pair; with ``quantile`` above that quantile instead, with ``threshold`` above that one similarity at both ends.
    The clips are drawn by ``seed``.
    Raises FeatureError when no negative is there.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(trajectories))[:clips])
    groups = trajectories.snapshots[0].groups[rows]
    negative = groups[:, None] != groups
    if not negative.any():
        raise FeatureError(f"{trajectories.path}: {len(rows)} clips that all say the same have no negatives")
    found = [trajectories.similarity(checkpoint, rows, rows) for checkpoint in range(len(trajectories.epochs))]
    early, late = found[0][negative], found[-1][negative]
    if threshold is not None:
        limits, rule = (threshold, threshold), "given"
    elif quantile is not None:
        limits, rule = (
            (float(np.quantile(early, quantile)), float(np.quantile(late, quantile))),
            f"quantile {quantile:g}",
        )
    else:
        limits, rule = (float(early.mean(dtype=np.float64)), float(late.mean(dtype=np.float64))), "mean"
    was, remains = early > limits[0], late > limits[1]
    members = dict(zip(CLASSES, (was & ~remains, was & remains, ~was & remains, ~was & ~remains), strict=True))
    values = [x[negative] for x in found]
    edges = np.linspace(min(early.min(), late.min()), max(early.max(), late.max()), BINS + 1)
    return Classes(
        epochs=trajectories.epochs, clips=len(rows), clips_of=len(trajectories), pairs=int(negative.sum()),
        thresholds=limits, rule=rule, shares={name: float(m.mean()) for name, m in members.items()},
        curves={name: [_mean(x[m]) if m.any() else None for x in values] for name, m in members.items()},
        positives=[_mean(np.diag(x)) for x in found], negatives=[_mean(x) for x in values],
        histogram=np.histogram2d(early, late, bins=(edges, edges))[0].astype(int).tolist(), edges=edges.tolist(),
    )  # fmt: skip


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64))
