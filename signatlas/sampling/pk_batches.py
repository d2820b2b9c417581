"""P-K batches: P classes with K clips each, the same for every number of ranks (reverse dictionary, 5.5)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from signatlas.errors import UserError


def pk_batches(
    labels: np.ndarray,
    classes_per_batch: int,
    samples_per_class: int,
    *,
    seed: int,
    epoch: int,
    batches: int | None = None,
) -> np.ndarray:
    """Return clip positions int [batches, P * K], which depend on (seed, epoch) alone.

    Classes take turns, and so do the clips of a class, so a class smaller than K repeats a clip (draw another
    augmentation for each). ``batches`` defaults to one pass over the clips. Raises UserError for too few classes.
    """
    classes = np.unique(labels)
    if len(classes) < classes_per_batch:
        raise UserError(
            f"P-K batches need {classes_per_batch} classes, the training clips have {len(classes)}: "
            "lower classes_per_batch or add words"
        )
    rng = np.random.default_rng([seed, epoch])
    size = classes_per_batch * samples_per_class
    count = batches or max(1, len(labels) // size)
    order = np.argsort(labels, kind="stable")
    parts = np.split(order, np.searchsorted(labels[order], classes[1:]))
    members = {c: _cycle(part, rng) for c, part in zip(classes.tolist(), parts, strict=True)}
    runs = _distinct_runs(classes, classes_per_batch, count, rng)
    return np.array([[next(members[c]) for c in run for _ in range(samples_per_class)] for run in runs])


def _cycle(items: np.ndarray, rng: np.random.Generator) -> Iterator[int]:
    """Yield items forever, in a new random order each pass."""
    while True:
        yield from rng.permutation(items).tolist()


def _distinct_runs(classes: np.ndarray, per_batch: int, count: int, rng: np.random.Generator) -> list[list[int]]:
    """Return ``count`` runs of ``per_batch`` distinct classes; the uses of two classes differ by at most one."""
    runs: list[list[int]] = []
    waiting: list[int] = []
    for _ in range(count):
        if len(waiting) < per_batch:
            fresh = [c for c in rng.permutation(classes).tolist() if c not in waiting]
            extended = waiting + fresh
            # Waiting classes take another turn after the fresh ones.
            waiting = extended + rng.permutation(waiting).tolist() if waiting else extended
        run: list[int] = []
        rest: list[int] = []
        for c in waiting:
            (run if len(run) < per_batch and c not in run else rest).append(c)
        runs.append(run)
        waiting = rest
    return runs
