"""Train, dev and test: 70/10/20, by hash; duplicates stay together, signers too where they are known."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from signatlas.corpus.format import SPLITS, Clip

SHARES = {"train": 0.7, "dev": 0.1, "test": 0.2}
MIN_SIGNERS = 3  # one for each split; with fewer, signers cannot be kept apart
RULE = (
    "70/10/20 by sha256 of (seed, id); stratified by source and gloss; exact duplicates in one split; "
    f"grouped by signer where at least {MIN_SIGNERS} signers are known. A word with a single recording falls by its "
    "hash alone."
)


def with_splits(clips: Iterable[Clip], *, seed: int = 0) -> list[Clip]:
    """The same clips, each with its split."""
    held = list(clips)
    splits = assign_splits(
        [c.id for c in held],
        [f"{c.source}\n{c.gloss}" for c in held],
        [c.signer for c in held],
        [poses_digest(c.poses) for c in held],
        seed=seed,
    )
    return [replace(c, split=s) for c, s in zip(held, splits, strict=True)]


def poses_digest(poses: np.ndarray) -> bytes:
    """sha256 of a clip's coordinates: equal for exact duplicates. Every NaN counts as the same NaN."""
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
    """One of ``SPLITS`` for each id; independent of the order of the clips.

    Clips with one digest stay together. With at least ``MIN_SIGNERS`` signers known, those of one signer stay
    together too (a single signer known for a whole corpus says nothing about others, and would leave two splits
    empty); otherwise each stratum is cut by itself, so that its shares are 70/10/20 up to one clip.
    """
    by_signer = len({s for s in signers if s is not None}) >= MIN_SIGNERS
    order = sorted(range(len(ids)), key=lambda i: _hash(seed, ids[i]))
    keys = [[("digest", digests[i])] + [("signer", signers[i])] * (by_signer and signers[i] is not None) for i in order]
    groups = [[order[k] for k in group] for group in _connected(keys)]
    found: dict[int, str] = _by_deficit(groups) if by_signer else _by_stratum(groups, ids, strata, seed)
    return [found[i] for i in range(len(ids))]


def _hash(seed: int, text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\n{text}".encode()).digest()[:8], "big")


def _connected(keys: Sequence[Sequence[object]]) -> list[list[int]]:
    """Indices in groups: two that share a key are in one group. Groups in the order of their first index."""
    parent = list(range(len(keys)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[object, int] = {}
    for i, own in enumerate(keys):
        for key in own:
            a, b = root(i), root(first.setdefault(key, i))
            parent[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = defaultdict(list)
    for i in range(len(keys)):
        groups[root(i)].append(i)
    return list(groups.values())


def _by_stratum(groups: list[list[int]], ids: Sequence[str], strata: Sequence[str], seed: int) -> dict[int, str]:
    """Systematic sampling: place a stratum's groups, in hash order, evenly on [0, 1) from a hashed offset."""
    by_stratum: dict[str, list[list[int]]] = defaultdict(list)
    for group in groups:
        by_stratum[strata[group[0]]].append(group)
    found = {}
    for members in by_stratum.values():
        offset = _hash(seed, "offset\n" + ids[members[0][0]]) / 2**64
        for position, group in enumerate(members):
            point = (position + offset) / len(members)
            split = "train" if point < 0.7 else "dev" if point < 0.8 else "test"
            found.update(dict.fromkeys(group, split))
    return found


def _by_deficit(groups: list[list[int]]) -> dict[int, str]:
    """Largest group first, each to the split that lacks most clips; no split is left without a group."""
    total = sum(len(g) for g in groups)
    held: Counter[str] = Counter()
    found = {}
    ranked = sorted(groups, key=len, reverse=True)
    for position, group in enumerate(ranked):
        empty = [s for s in SPLITS if not held[s]]
        open_splits = empty if len(ranked) - position <= len(empty) else SPLITS
        split = max(open_splits, key=lambda s: SHARES[s] - held[s] / total)
        held[split] += len(group)
        found.update(dict.fromkeys(group, split))
    return found
