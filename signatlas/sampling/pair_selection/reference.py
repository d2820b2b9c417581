"""Pair selection written out from its definition: all scores summed and sorted anew after each addition. Slow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def select_batches(
    delta: np.ndarray,
    batch_size: int,
    alpha: float,
    *,
    seed: int | Sequence[int],
    groups: Sequence[int] | np.ndarray | None = None,
    window: float = 0.0,
) -> np.ndarray:
    """Return the expected result of :func:`signatlas.sampling.pair_selection.select_batches`."""
    count, rng = len(delta), np.random.default_rng(seed)
    left_out: set[int] = set()
    if count % batch_size:
        left_out = set(rng.choice(count, count % batch_size, replace=False).tolist())
    remaining = [i for i in range(count) if i not in left_out]
    batches = []
    while remaining:
        batch = [remaining.pop(int(rng.integers(len(remaining))))]
        while len(batch) < batch_size:
            present = {groups[i] for i in batch} if groups is not None else set()
            candidates = [u for u in remaining if groups is None or groups[u] not in present] or remaining
            scored = sorted((_score(delta, batch, u), u) for u in candidates)
            rank = int(np.floor(alpha * (len(scored) - 1)))
            width = round(window * len(scored))
            if width > 1:
                first = min(max(rank - width // 2, 0), len(scored) - width)
                rank = first + int(rng.integers(width))
            batch.append(scored[rank][1])
            remaining.remove(batch[-1])
        batches.append(batch)
    return np.array(batches)


def _score(delta: np.ndarray, batch: list[int], u: int) -> float:
    """Return Delta(u; C), the sum over i in C of delta_iu + delta_ui, in the order of selection."""
    score = 0.0
    for i in batch:
        score += float(delta[i, u]) + float(delta[u, i])
    return score
