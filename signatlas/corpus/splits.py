"""Assign clips to train, dev and test, 70/10/20 by hash; duplicates stay together, and signers if known."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from signatlas.corpus.format import SPLITS, Clip

SHARES = {"train": 0.7, "dev": 0.1, "test": 0.2}
MIN_SIGNERS = 3  # one per split; with fewer, splits cannot have different signers
RULE = (
    "70/10/20 by sha256 of (seed, id); stratified by source and gloss; exact duplicates in one split; "
    f"grouped by signer where at least {MIN_SIGNERS} signers are known. A word with a single recording falls by its "
    "hash alone."
)


def with_splits(clips: Iterable[Clip], *, seed: int = 0) -> list[Clip]:
    """Return the clips with their splits from :func:`assign_splits`, stratified by source and gloss."""
    clips = list(clips)
    splits = assign_splits(
        [c.id for c in clips],
        [f"{c.source}\n{c.gloss}" for c in clips],
        [c.signer for c in clips],
        [poses_digest(c.poses) for c in clips],
        seed=seed,
    )
    return [replace(c, split=s) for c, s in zip(clips, splits, strict=True)]


def poses_digest(poses: np.ndarray) -> bytes:
    """Return the sha256 of the coordinates, equal for exact duplicates; every NaN is treated as the same NaN."""
    values = np.where(np.isnan(poses), np.float32("nan"), poses).astype("<f4")
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).digest()


def assign_splits(
    ids: Sequence[str],
    strata: Sequence[str],
    signers: Sequence[str | None],
    digests: Sequence[bytes],
    *,
    seed: int = 0,
) -> list[str]:
    """Return one of ``SPLITS`` for each id, independent of the order of the clips.

    Clips with equal digests stay together. If at least ``MIN_SIGNERS`` signers are known, clips of one signer stay
    together too. Otherwise each stratum is divided separately, 70/10/20 to within one clip.
    """
    by_signer = len({s for s in signers if s is not None}) >= MIN_SIGNERS
    order = sorted(range(len(ids)), key=lambda i: _hash(seed, ids[i]))
    keys = [[("digest", digests[i])] + [("signer", signers[i])] * (by_signer and signers[i] is not None) for i in order]
    groups = [[order[k] for k in group] for group in _connected(keys)]
    split_of = _by_deficit(groups) if by_signer else _by_stratum(groups, ids, strata, seed)
    return [split_of[i] for i in range(len(ids))]


def _hash(seed: int, text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\n{text}".encode()).digest()[:8], "big")


def _connected(keys: Sequence[Sequence[object]]) -> list[list[int]]:
    """Return groups of indices that share a key, directly or through others, in the order of their first index."""
    parent = list(range(len(keys)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[object, int] = {}
    for i, keys_of_one in enumerate(keys):
        for key in keys_of_one:
            a, b = root(i), root(first.setdefault(key, i))
            parent[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = defaultdict(list)
    for i in range(len(keys)):
        groups[root(i)].append(i)
    return list(groups.values())


def _by_stratum(groups: list[list[int]], ids: Sequence[str], strata: Sequence[str], seed: int) -> dict[int, str]:
    """Spread the groups of a stratum, in hash order, evenly on [0, 1) from a hashed offset (systematic sampling)."""
    by_stratum: dict[str, list[list[int]]] = defaultdict(list)
    for group in groups:
        by_stratum[strata[group[0]]].append(group)
    split_of = {}
    for members in by_stratum.values():
        offset = _hash(seed, "offset\n" + ids[members[0][0]]) / 2**64
        for position, group in enumerate(members):
            point = (position + offset) / len(members)
            split = "train" if point < 0.7 else "dev" if point < 0.8 else "test"
            split_of.update(dict.fromkeys(group, split))
    return split_of


def _by_deficit(groups: list[list[int]]) -> dict[int, str]:
    """Assign the groups, largest first, each to the split furthest below its share; no split stays empty."""
    total = sum(len(g) for g in groups)
    counts: Counter[str] = Counter()
    split_of = {}
    ranked = sorted(groups, key=len, reverse=True)
    for position, group in enumerate(ranked):
        empty = [s for s in SPLITS if not counts[s]]
        candidates = empty if len(ranked) - position <= len(empty) else SPLITS
        split = max(candidates, key=lambda s: SHARES[s] - counts[s] / total)
        counts[split] += len(group)
        split_of.update(dict.fromkeys(group, split))
    return split_of
