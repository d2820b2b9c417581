"""Which clips meet in a batch: greedy selection of negatives by how their similarity changed (SCL-SLT, Algorithm 1).

The paper leaves points open; this is how they are read. delta_iu is the change of the similarity of clip i and text u
between an early and a late checkpoint of a reference model. Candidate u adds Delta(u; C) = sum over i in C of
(delta_iu + delta_ui) to the score of batch C. Each batch starts with an item drawn at random; after each addition the
item at rank floor(alpha (M - 1)) of the M candidates in ascending Delta follows, ties by index.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signatlas.sampling.pair_selection.sources import (
    DeltaSource,
    DenseDelta,
    Gains,
    Integers,
    LowRankDelta,
    TokenDelta,
)

__all__ = ["DeltaSource", "DenseDelta", "LowRankDelta", "TokenDelta", "plan_epoch", "select_batches"]

Seed = int | Sequence[int]
MANY, SAMPLE = 2048, 256  # of more scores than MANY, at least SAMPLE are looked at first


def select_batches(
    delta: ArrayLike,
    batch_size: int,
    alpha: float,
    *,
    seed: Seed,
    groups: ArrayLike | None = None,
    window: float = 0.0,
) -> Integers:
    """Batches [N // batch_size, batch_size] of positions, none twice, in the order in which they were added.

    ``delta`` [N, N]: row i, column j is the change of the similarity of clip i and text j. ``alpha`` in 0..1: 0 adds
    what was pushed apart most (easy), 1 what was pulled together most (hard). The N mod batch_size clips that sit out
    are drawn first, by ``seed``, whoever they are, so that they are others with another seed. ``groups`` int [N],
    equal for identical texts: a text that the batch holds already is no candidate as long as there is another.
    ``window``, a share of the candidates, draws the item evenly from so many around the rank (as a whole among them:
    at the ends it reaches to one side only); 1 draws from all. A function of its arguments alone.

    Raises ValueError, in one line, for a matrix that is not square or not finite and for settings out of range.
    """
    return plan_epoch(DenseDelta(np.asarray(delta)), batch_size, alpha, seed=seed, groups=groups, window=window)


def plan_epoch(
    source: DeltaSource,
    batch_size: int,
    alpha: float,
    *,
    seed: Seed,
    groups: ArrayLike | None = None,
    window: float = 0.0,
    pool: int | None = None,
) -> Integers:
    """The same over any source, and within shuffled pools of at most ``pool`` clips where that is given.

    Pools are as equal as whole batches allow; batches come pool after pool. Without ``pool`` they are as large as the
    source can serve; with one that takes in all clips this is :func:`select_batches`. ``seed`` may be several numbers,
    such as those of run and epoch.
    """
    count = len(source)
    pool = source.most if pool is None else pool
    of = _checked(count, batch_size, alpha, groups, window)
    if pool is None or pool >= count:
        rng = np.random.default_rng(seed)
        return _select(source.gains(None), _seated(count, batch_size, rng), batch_size, alpha, rng, of, window)
    if pool < batch_size:
        raise ValueError(f"a pool of {pool} clips does not fill a batch of {batch_size}")
    numbers = [seed] if isinstance(seed, int | np.integer) else list(seed)
    order = np.random.default_rng(numbers).permutation(count)
    parts = []
    for number, rows in enumerate(_pools(order, batch_size, pool)):
        rng = np.random.default_rng([*numbers, number + 1])
        mine = None if of is None else of[rows]
        everyone = np.arange(len(rows))
        parts.append(rows[_select(source.gains(rows), everyone, batch_size, alpha, rng, mine, window)])
    return np.concatenate(parts)


def _checked(
    count: int, batch_size: int, alpha: float, groups: ArrayLike | None, window: float
) -> NDArray[np.int64] | None:
    """The groups as numbers from 0, or None where no two clips share one."""
    if batch_size < 1 or count < batch_size:
        raise ValueError(f"batches of {batch_size} cannot be chosen from {count} clips")
    for name, value in (("alpha", alpha), ("window", window)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is a share, 0 to 1, not {value}")
    if groups is None:
        return None
    names = np.asarray(groups)
    if names.shape != (count,):
        raise ValueError(f"groups of shape {names.shape} for {count} clips: give one number a clip")
    distinct, numbers = np.unique(names, return_inverse=True)
    return None if len(distinct) == count else numbers.astype(np.int64)


def _seated(count: int, batch_size: int, rng: np.random.Generator) -> Integers:
    """The clips that take part, in order: as many as fill batches, drawn at random."""
    left_out = count % batch_size
    if not left_out:
        return np.arange(count)
    return np.setdiff1d(np.arange(count), rng.choice(count, left_out, replace=False), assume_unique=True)


def _pools(order: Integers, batch_size: int, pool: int) -> list[Integers]:
    """The shuffled clips cut into pools of whole batches, as equal as can be; each in ascending order.

    Ascending, so that ties within a pool go by the index of the clip, and a mapped file is read forwards.
    """
    batches = len(order) // batch_size
    number = -(-batches // (pool // batch_size))
    ends = (np.arange(1, number + 1) * batches // number) * batch_size
    return [np.sort(part) for part in np.split(order[: batches * batch_size], ends[:-1])]


def _select(
    gains: Gains,
    remaining: Integers,
    batch_size: int,
    alpha: float,
    rng: np.random.Generator,
    groups: NDArray[np.int64] | None,
    window: float,
) -> Integers:
    batches = np.empty((len(remaining) // batch_size, batch_size), np.int64)
    for batch in batches:
        places = _fill(gains, remaining, batch_size, alpha, rng, groups, window)
        batch[:] = remaining[places]
        remaining = np.delete(remaining, places)
    return batches


def _fill(
    gains: Gains,
    remaining: Integers,
    batch_size: int,
    alpha: float,
    rng: np.random.Generator,
    groups: NDArray[np.int64] | None,
    window: float,
) -> list[int]:
    """One batch, as places in ``remaining``. Scores run along; those of items that are no candidates are infinite."""
    texts = None if groups is None else groups[remaining]
    scores = np.zeros(len(remaining))
    candidates = len(remaining)
    places = [int(rng.integers(candidates))]
    while True:
        place = places[-1]
        if len(places) == batch_size:
            return places
        scores += gains(int(remaining[place]), remaining)
        if texts is None:
            scores[place] = np.inf
            candidates -= 1
        else:
            same = np.flatnonzero(texts == texts[place])
            candidates -= len(same)  # its text is new to the batch: all of them were candidates
            scores[same] = np.inf
        if not candidates:  # only texts that the batch holds already are left
            texts = None
            scores = np.zeros(len(remaining))
            for chosen in places:
                scores += gains(int(remaining[chosen]), remaining)
            scores[places] = np.inf
            candidates = len(remaining) - len(places)
        places.append(_at_rank(scores, _rank(candidates, alpha, window, rng)))


def _rank(candidates: int, alpha: float, window: float, rng: np.random.Generator) -> int:
    rank = int(alpha * (candidates - 1))
    width = round(window * candidates)
    if width < 2:
        return rank
    first = min(max(0, rank - width // 2), candidates - width)
    return first + int(rng.integers(width))


def _at_rank(scores: np.ndarray, rank: int) -> int:
    """The place of the item at ``rank`` from 0 in ascending order, ties by place; without sorting all of them.

    Of many scores only those between two bounds are looked at, which a sample says the rank lies between; where the
    sample is wrong, all of them.
    """
    if rank == 0:
        return int(scores.argmin())
    least, most = _bounds(scores, rank) if len(scores) > MANY else (-np.inf, np.inf)
    below = int(np.count_nonzero(scores < least))
    # Whoever ties with a bound is inside, so that ties are all there or all not.
    inside = np.flatnonzero((scores >= least) & (scores <= most))
    if not below <= rank < below + len(inside):
        below, inside = 0, np.arange(len(scores))
    values, place = scores[inside], rank - below
    value = np.partition(values, place)[place]
    equal = np.flatnonzero(values == value)
    return int(inside[equal[0] if len(equal) == 1 else equal[place - np.count_nonzero(values < value)]])


def _bounds(scores: np.ndarray, rank: int) -> tuple[float, float]:
    """Scores of a sample some places below and above where the rank would be in it: three deviations or more."""
    sample = np.sort(scores[:: len(scores) // SAMPLE])
    place, away = rank * len(sample) // len(scores), int(1.5 * len(sample) ** 0.5) + 1
    return (
        sample[place - away] if place >= away else -np.inf,
        sample[place + away] if place + away < len(sample) else np.inf,
    )
