"""Sources of similarity changes for pair selection: a matrix, tokens compared pool by pool, or low-rank factors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
# What an item adds to the scores of candidates: (item, candidates [M]) -> delta_iu + delta_ui, float [M].
Gains = Callable[[int, Integers], NDArray[np.floating]]

TILE = 1024  # a tile of a matrix and of its transpose fit the cache together
MATRIX = 4096  # largest pool whose products of factors are one matrix (128 MiB)
BITS = 36  # of a product of two fixed-point factors; sums of 2^15 products are exact in float64


class DeltaSource(Protocol):
    """Changes of similarity among N clips and their texts, of which only delta_iu + delta_ui is used.

    ``max_pool`` is the largest pool that it can serve; None: all clips.
    """

    max_pool: int | None

    def __len__(self) -> int: ...

    def gains(self, rows: Integers | None) -> Gains:
        """Return the gains among ``rows`` (None: all clips); items and candidates are positions in ``rows``."""
        ...


class DenseDelta:
    """A matrix [N, N] of changes, in memory or memory-mapped."""

    max_pool: int | None = None

    def __init__(self, delta: np.ndarray):
        self.delta = delta
        self._symmetric: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.delta)

    def gains(self, rows: Integers | None) -> Gains:
        if rows is not None:
            return _matrix_gains(_symmetric(self.delta[rows[:, None], rows]))
        if self._symmetric is None:
            self._symmetric = _symmetric(self.delta)
        return _matrix_gains(self._symmetric)


class TokenDelta:
    """Changes of ``count`` clips, computed for each pool by ``delta(rows, columns) -> [R, C]``."""

    def __init__(self, delta: Callable[[Integers, Integers], np.ndarray], count: int, max_pool: int | None = None):
        self.delta, self.count, self.max_pool = delta, count, max_pool

    def __len__(self) -> int:
        return self.count

    def gains(self, rows: Integers | None) -> Gains:
        clips = np.arange(self.count) if rows is None else rows
        return _matrix_gains(_symmetric(self.delta(clips, clips)))


class LowRankDelta:
    """delta_ij = sum over checkpoints c of weights_c * left_c[i] . right_c[j], without a matrix of all pairs (SCL-SLT).

    ``left`` and ``right`` are arrays [N, d], in memory or memory-mapped, with values in -1..1: one pooled vector a
    clip and a text. With weights (-1, 1) this is a_i . b_j with a_i = [-u^0, u^K] and b_j = [v^0, v^K]. Factors are
    rounded to fixed point, so that products and sums in float64 are exact: the same on every machine and number of
    threads.
    """

    max_pool: int | None = MATRIX  # larger pools use running sums of factors, O(d) a candidate, and are slow

    def __init__(self, left: Sequence[np.ndarray], right: Sequence[np.ndarray], weights: Sequence[float]):
        if not len(left) == len(right) == len(weights) > 0:
            raise ValueError(f"{len(left)} left, {len(right)} right factors and {len(weights)} weights do not match")
        if len({array.shape for array in (*left, *right)}) > 1:
            raise ValueError(f"factors differ in shape: {', '.join(str(a.shape) for a in (*left, *right))}")
        self.left, self.right, self.weights = left, right, weights
        terms = 2 * len(left) * left[0].shape[1]
        largest = max(1.0, *(abs(w) for w in weights))
        # Exact while the bits of a product, of the number of terms and of the items of a batch (2^6) stay below 53.
        spare = 53 - 6 - int(np.ceil(np.log2(terms))) - int(np.ceil(np.log2(largest)))
        self.unit = 2.0 ** (min(BITS, spare) // 2)

    def __len__(self) -> int:
        return len(self.left[0])

    def gains(self, rows: Integers | None) -> Gains:
        left, right = self._factors(slice(None) if rows is None else rows)
        if len(left) <= MATRIX:
            products = left @ right.T
            return _matrix_gains(products + products.T)
        factors, swapped = np.concatenate([left, right], 1), np.concatenate([right, left], 1)

        def gains(item: int, candidates: Integers) -> np.ndarray:
            values: np.ndarray = factors[candidates] @ swapped[item]
            return values

        return gains

    def _factors(self, rows: Integers | slice) -> tuple[np.ndarray, np.ndarray]:
        """Return the weighted left and the right factors of rows, each [M, C d], float64 in fixed point."""
        sides = []
        for parts, weights in ((self.left, self.weights), (self.right, [1.0] * len(self.right))):
            arrays = [np.asarray(part[rows], np.float64) for part in parts]
            if not all((np.abs(array) <= 1).all() for array in arrays):
                raise ValueError("pooled vectors are not within -1..1: has the reference model diverged?")
            side = np.concatenate([np.float64(w) * array for array, w in zip(arrays, weights, strict=True)], 1)
            sides.append(np.rint(side * self.unit) / self.unit)
        return sides[0], sides[1]


def _symmetric(delta: np.ndarray) -> np.ndarray:
    """Return delta + delta.T in float32 (float64 if delta is), computed by tiles. Raises ValueError."""
    if delta.ndim != 2 or delta.shape[0] != delta.shape[1]:
        raise ValueError(f"delta must be square, a row a clip and a column a text, got {delta.shape}")
    count = len(delta)
    total = np.empty((count, count), np.float64 if delta.dtype == np.float64 else np.float32)
    for top in range(0, count, TILE):
        for left in range(top, count, TILE):
            upper, lower = delta[top : top + TILE, left : left + TILE], delta[left : left + TILE, top : top + TILE]
            tile = upper.astype(total.dtype) + lower.T.astype(total.dtype)
            if not np.isfinite(tile).all():
                row, column = np.argwhere(~np.isfinite(tile))[0]
                raise ValueError(
                    f"delta is not finite between clips {top + row} and {left + column}: has the reference model "
                    "diverged?"
                )
            total[top : top + TILE, left : left + TILE] = tile
            total[left : left + TILE, top : top + TILE] = tile.T
    return total


def _matrix_gains(matrix: np.ndarray) -> Gains:
    def gains(item: int, candidates: Integers) -> np.ndarray:
        values: np.ndarray = matrix[item].take(candidates)
        return values

    return gains
