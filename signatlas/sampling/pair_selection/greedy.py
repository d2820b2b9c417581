"""Greedy selection of the clips of each batch by how their similarity changed (SCL-SLT, Algorithm 1).

What the paper leaves open is read as follows. delta_iu is the change of the similarity of clip i and text u between an
early and a late checkpoint of a reference model. Candidate u adds Delta(u; C) = sum over i in C of (delta_iu +
delta_ui) to the score of batch C. Each batch starts with an item drawn at random; each further item is the one at rank
floor(alpha (M - 1)) of the M candidates in ascending Delta, ties by index.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signatlas.sampling.pair_selection.sources import DeltaSource, DenseDelta, Gains, Integers

Schedule = Literal["easy", "hard", "linear", "sqrt", "log", "log2"]
Seed = int | Sequence[int]
MANY, SAMPLE = 2048, 256  # of more than MANY scores, about SAMPLE bound the range in which the rank is searched


def curriculum_alpha(schedule: Schedule, epoch: int, epochs: int) -> float:
    """Return alpha, in 0..1, of ``epoch`` (from 0) of ``epochs``: 0 selects the easiest pairs, 1 the hardest.

    With p = epoch / (epochs - 1), and p = 0 if there is one epoch: ``easy`` 0, ``hard`` 1, ``linear`` p, ``sqrt``
    sqrt(p), ``log`` log(1 + (epochs - 1) p) / log(epochs), ``log2`` log2(1 + p). The "log" of SCL-SLT may be either of
    the last two, which differ: 0.50 and 0.14 at p = 0.1 of 80 epochs. Raises ValueError.
    """
    if not 0 <= epoch < epochs:
        raise ValueError(f"epoch {epoch} is not one of {epochs}, counted from 0")
    if schedule not in get_args(Schedule):
        raise ValueError(f"schedule {schedule!r}: use one of {', '.join(get_args(Schedule))}")
    p = epoch / (epochs - 1) if epochs > 1 else 0.0
    if schedule in ("easy", "hard"):
        return float(schedule == "hard")
    if schedule == "linear":
        return p
    if schedule == "sqrt":
        return math.sqrt(p)
    if schedule == "log2":
        return math.log2(1 + p)
    # Rounding may take the quotient above 1.
    return min(1.0, math.log(1 + epoch) / math.log(epochs)) if epochs > 1 else 0.0


def select_batches(
    delta: ArrayLike,
    batch_size: int,
    alpha: float,
    *,
    seed: Seed,
    groups: ArrayLike | None = None,
    window: float = 0.0,
) -> Integers:
    """Return batches [N // batch_size, batch_size] of distinct positions, each in the order of selection.

    ``delta`` [N, N]: row i, column j is the change of the similarity of clip i and text j. ``alpha`` in 0..1: 0 adds
    the clips pushed apart most (easy), 1 those pulled together most (hard). The N mod batch_size clips left out are
    drawn first, by ``seed`` alone, so that they differ between seeds. ``groups`` int [N] are equal for identical
    texts: a text that is in the batch already is a candidate only if nothing else is left. ``window``, a share of the
    candidates, draws the item uniformly from that many around the rank (shifted inwards at the ends); 1 draws from
    all. The result depends on the arguments alone.

    Raises ValueError for a matrix that is not square or not finite and for settings out of range.
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
    """Return batches like :func:`select_batches`, from any source, selected within shuffled pools of clips.

    Pools have at most ``pool`` clips and are as equal as whole batches allow; batches come pool after pool. By default
    a pool is as large as the source can serve; one pool of all clips is :func:`select_batches`. ``seed`` may be
    several numbers, such as those of run and epoch.
    """
    count = len(source)
    pool = source.max_pool if pool is None else pool
    group_numbers = _checked_groups(count, batch_size, alpha, groups, window)
    if pool is None or pool >= count:
        rng = np.random.default_rng(seed)
        clips = _participants(count, batch_size, rng)
        return _select(source.gains(None), clips, batch_size, alpha, rng, group_numbers, window)
    if pool < batch_size:
        raise ValueError(f"a pool of {pool} clips does not fill a batch of {batch_size}")
    seeds = [seed] if isinstance(seed, int | np.integer) else list(seed)
    order = np.random.default_rng(seeds).permutation(count)
    parts = []
    for number, rows in enumerate(_pools(order, batch_size, pool)):
        rng = np.random.default_rng([*seeds, number + 1])
        pool_groups = None if group_numbers is None else group_numbers[rows]
        clips = np.arange(len(rows))
        parts.append(rows[_select(source.gains(rows), clips, batch_size, alpha, rng, pool_groups, window)])
    return np.concatenate(parts)


def _checked_groups(
    count: int, batch_size: int, alpha: float, groups: ArrayLike | None, window: float
) -> NDArray[np.int64] | None:
    """Return the groups as numbers from 0, or None if no two clips share one. Raises ValueError."""
    if batch_size < 1 or count < batch_size:
        raise ValueError(f"cannot select batches of {batch_size} from {count} clips")
    for name, value in (("alpha", alpha), ("window", window)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be in 0..1, got {value}")
    if groups is None:
        return None
    names = np.asarray(groups)
    if names.shape != (count,):
        raise ValueError(f"groups of shape {names.shape} for {count} clips: give one number a clip")
    distinct, numbers = np.unique(names, return_inverse=True)
    return None if len(distinct) == count else numbers.astype(np.int64)


def _participants(count: int, batch_size: int, rng: np.random.Generator) -> Integers:
    """Return the clips of an epoch in ascending order: as many as fill batches, drawn at random."""
    excess = count % batch_size
    if not excess:
        return np.arange(count)
    return np.setdiff1d(np.arange(count), rng.choice(count, excess, replace=False), assume_unique=True)


def _pools(order: Integers, batch_size: int, pool: int) -> list[Integers]:
    """Return the shuffled clips as pools of whole batches of nearly equal size, each in ascending order.

    Ascending, so that ties within a pool go by clip index, and a memory-mapped file is read forwards.
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
        selected = _fill(gains, remaining, batch_size, alpha, rng, groups, window)
        batch[:] = remaining[selected]
        remaining = np.delete(remaining, selected)
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
    """Return one batch as indices into ``remaining``. Running scores; those of non-candidates are infinite."""
    texts = None if groups is None else groups[remaining]
    scores = np.zeros(len(remaining))
    candidates = len(remaining)
    selected = [int(rng.integers(candidates))]
    while True:
        last = selected[-1]
        if len(selected) == batch_size:
            return selected
        scores += gains(int(remaining[last]), remaining)
        if texts is None:
            scores[last] = np.inf
            candidates -= 1
        else:
            identical = np.flatnonzero(texts == texts[last])
            candidates -= len(identical)  # its text was not in the batch, so all of them were candidates
            scores[identical] = np.inf
        if not candidates:  # only texts that are in the batch already are left
            texts = None
            scores = np.zeros(len(remaining))
            for index in selected:
                scores += gains(int(remaining[index]), remaining)
            scores[selected] = np.inf
            candidates = len(remaining) - len(selected)
        selected.append(_at_rank(scores, _rank(candidates, alpha, window, rng)))


def _rank(candidates: int, alpha: float, window: float, rng: np.random.Generator) -> int:
    rank = int(alpha * (candidates - 1))
    width = round(window * candidates)
    if width < 2:
        return rank
    first = min(max(0, rank - width // 2), candidates - width)
    return first + int(rng.integers(width))


def _at_rank(scores: np.ndarray, rank: int) -> int:
    """Return the index of the item at ``rank`` (from 0) in ascending order, ties by index, without a full sort.

    A sample bounds the scores around the rank, and only those between the bounds are searched; all of them if the rank
    is outside.
    """
    if rank == 0:
        return int(scores.argmin())
    low, high = _bounds(scores, rank) if len(scores) > MANY else (-np.inf, np.inf)
    below = int(np.count_nonzero(scores < low))
    # Scores equal to a bound are inside, so that ties are not split.
    inside = np.flatnonzero((scores >= low) & (scores <= high))
    if not below <= rank < below + len(inside):
        below, inside = 0, np.arange(len(scores))
    values, position = scores[inside], rank - below
    value = np.partition(values, position)[position]
    equal = np.flatnonzero(values == value)
    return int(inside[equal[0] if len(equal) == 1 else equal[position - np.count_nonzero(values < value)]])


def _bounds(scores: np.ndarray, rank: int) -> tuple[float, float]:
    """Return scores of a sample at least three deviations below and above where the rank would be in it."""
    sample = np.sort(scores[:: len(scores) // SAMPLE])
    position, margin = rank * len(sample) // len(scores), int(1.5 * len(sample) ** 0.5) + 1
    return (
        sample[position - margin] if position >= margin else -np.inf,
        sample[position + margin] if position + margin < len(sample) else np.inf,
    )
