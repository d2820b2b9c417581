"""Where pair selection gets the changes of similarity from: a matrix, tokens of a pool, or low-rank factors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
# What an item adds to the scores of candidates: (item, candidates [M]) -> delta_iu + delta_ui, float [M].
Gains = Callable[[int, Integers], NDArray[np.floating]]

TILE = 1024  # a tile of a matrix and of its transpose, which both stay in the cache
MATRIX = 4096  # pools of at most so many items get a matrix of factors' products (128 MiB at most)
BITS = 36  # of a product of two fixed-point factors; sums of 2^15 of them are exact in float64


class DeltaSource(Protocol):
    """Changes of similarity among N clips and their texts, of which only delta_iu + delta_ui is asked for.

    ``most``: the largest pool that it can serve; None: all clips.
    """

    most: int | None

    def __len__(self) -> int: ...

    def gains(self, rows: Integers | None) -> Gains:
        """The gains among ``rows``, or among all; items and candidates are positions in ``rows``."""
        ...


def symmetric(delta: np.ndarray) -> np.ndarray:
    """delta + delta.T, float32 (float64 where delta is), by tiles. Raises ValueError in one line."""
    if delta.ndim != 2 or delta.shape[0] != delta.shape[1]:
        raise ValueError(f"delta must be square, a row a clip and a column a text, got {delta.shape}")
    count = len(delta)
    total = np.empty((count, count), np.float64 if delta.dtype == np.float64 else np.float32)
    for top in range(0, count, TILE):
        for left in range(top, count, TILE):
            one, other = delta[top : top + TILE, left : left + TILE], delta[left : left + TILE, top : top + TILE]
            tile = one.astype(total.dtype) + other.T.astype(total.dtype)
            if not np.isfinite(tile).all():
                row, column = np.argwhere(~np.isfinite(tile))[0]
                raise ValueError(
                    f"delta is not finite between clips {top + row} and {left + column}: has the reference diverged?"
                )
            total[top : top + TILE, left : left + TILE] = tile
            total[left : left + TILE, top : top + TILE] = tile.T
    return total


def _of_matrix(total: np.ndarray) -> Gains:
    def gains(item: int, candidates: Integers) -> np.ndarray:
        chosen: np.ndarray = total[item].take(candidates)
        return chosen

    return gains


class DenseDelta:
    """A matrix [N, N] of changes, in memory or mapped from disk."""

    most: int | None = None

    def __init__(self, delta: np.ndarray):
        self.delta = delta
        self._total: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.delta)

    def gains(self, rows: Integers | None) -> Gains:
        if rows is not None:
            return _of_matrix(symmetric(self.delta[rows[:, None], rows]))
        if self._total is None:
            self._total = symmetric(self.delta)
        return _of_matrix(self._total)


class TokenDelta:
    """Changes that are computed when a pool needs them, by ``delta(rows, columns) -> [R, C]``, of ``count`` clips."""

    def __init__(self, delta: Callable[[Integers, Integers], np.ndarray], count: int, most: int | None = None):
        self.delta, self.count, self.most = delta, count, most

    def __len__(self) -> int:
        return self.count

    def gains(self, rows: Integers | None) -> Gains:
        chosen = np.arange(self.count) if rows is None else rows
        return _of_matrix(symmetric(self.delta(chosen, chosen)))


class LowRankDelta:
    """delta_ij = sum over checkpoints c of weights_c * left_c[i] . right_c[j]: no matrix of all pairs (SCL-SLT).

    ``left`` and ``right`` are arrays [N, d], in memory or mapped, with values in -1..1 (one pooled vector a clip and a
    text). With weights (-1, 1) this is a_i . b_j with a_i = [-u^0, u^K] and b_j = [v^0, v^K]. Factors are brought to
    fixed point, so that products and sums in float64 are exact: the same on every machine and number of threads.
    """

    most: int | None = MATRIX  # larger pools go by running sums of factors, O(d) a candidate and slow

    def __init__(self, left: Sequence[np.ndarray], right: Sequence[np.ndarray], weights: Sequence[float]):
        if not len(left) == len(right) == len(weights) > 0:
            raise ValueError(f"{len(left)} left, {len(right)} right factors and {len(weights)} weights do not pair")
        if len({array.shape for array in (*left, *right)}) > 1:
            raise ValueError(f"factors differ in shape: {', '.join(str(a.shape) for a in (*left, *right))}")
        self.left, self.right, self.weights = left, right, weights
        terms = 2 * len(left) * left[0].shape[1]
        largest = max(1.0, *(abs(w) for w in weights))
        # Exact while bits of a product, of the number of terms and of the items of a batch (2^6) stay below 53.
        spare = 53 - 6 - int(np.ceil(np.log2(terms))) - int(np.ceil(np.log2(largest)))
        self.unit = 2.0 ** (min(BITS, spare) // 2)

    def __len__(self) -> int:
        return len(self.left[0])

    def _factors(self, rows: Integers | slice) -> tuple[np.ndarray, np.ndarray]:
        """Of rows: [M, C d] from the left, with the weights, and from the right; float64 of fixed point."""
        sides = []
        for parts, weights in ((self.left, self.weights), (self.right, [1.0] * len(self.right))):
            read = [np.asarray(part[rows], np.float64) for part in parts]
            if not all((np.abs(part) <= 1).all() for part in read):
                raise ValueError("pooled vectors are not within -1..1: has the reference diverged?")
            side = np.concatenate([np.float64(w) * part for part, w in zip(read, weights, strict=True)], 1)
            sides.append(np.rint(side * self.unit) / self.unit)
        return sides[0], sides[1]

    def gains(self, rows: Integers | None) -> Gains:
        left, right = self._factors(slice(None) if rows is None else rows)
        if len(left) <= MATRIX:
            products = left @ right.T
            return _of_matrix(products + products.T)
        both, turned = np.concatenate([left, right], 1), np.concatenate([right, left], 1)

        def gains(item: int, candidates: Integers) -> np.ndarray:
            chosen: np.ndarray = both[candidates] @ turned[item]
            return chosen

        return gains
