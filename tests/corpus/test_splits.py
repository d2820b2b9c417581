"""Splits: shares, determinism, strata, signers, duplicates."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from signatlas.corpus.splits import assign_splits, poses_digest


def unique(number: int) -> list[bytes]:
    return [str(i).encode() for i in range(number)]


def test_each_gloss_is_divided_70_10_20_to_within_one_clip() -> None:
    sizes = {"a": 10, "b": 43, "c": 114, "d": 7}
    glosses = [g for g, n in sizes.items() for _ in range(n)]
    ids = [f"{g}/{i}" for i, g in enumerate(glosses)]
    splits = assign_splits(ids, glosses, [None] * len(ids), unique(len(ids)))
    for gloss, size in sizes.items():
        counts = Counter(s for s, g in zip(splits, glosses, strict=True) if g == gloss)
        for split, share in (("train", 0.7), ("dev", 0.1), ("test", 0.2)):
            assert abs(counts[split] - share * size) <= 1, (gloss, split, counts)


def test_single_recordings_get_the_same_shares_by_hash() -> None:
    ids = [f"word-{i}" for i in range(5000)]
    counts = Counter(assign_splits(ids, ids, [None] * 5000, unique(5000)))
    assert counts["train"] / 5000 == pytest.approx(0.7, abs=0.02)
    assert counts["dev"] / 5000 == pytest.approx(0.1, abs=0.015)


def test_splits_depend_on_the_seed_and_not_on_the_order() -> None:
    ids, strata = [f"c{i}" for i in range(200)], [f"g{i % 7}" for i in range(200)]
    digests = unique(200)
    digests[17] = digests[101]
    splits = dict(zip(ids, assign_splits(ids, strata, [None] * 200, digests), strict=True))
    order = np.random.default_rng(0).permutation(200)
    again = assign_splits(
        [ids[i] for i in order], [strata[i] for i in order], [None] * 200, [digests[i] for i in order]
    )
    assert again == [splits[ids[i]] for i in order]
    assert assign_splits(ids, strata, [None] * 200, digests, seed=1) != list(splits.values())


def test_duplicates_stay_together_even_across_glosses() -> None:
    ids, strata = [f"c{i}" for i in range(300)], [f"g{i % 5}" for i in range(300)]
    digests = [str(i % 60).encode() for i in range(300)]  # five copies of each, one in each gloss
    splits = assign_splits(ids, strata, [None] * 300, digests)
    by_digest = defaultdict(set)
    for digest, split in zip(digests, splits, strict=True):
        by_digest[digest].add(split)
    assert all(len(s) == 1 for s in by_digest.values()) and set(splits) == {"train", "dev", "test"}


@pytest.mark.parametrize("signers", [3, 4, 6, 25])
def test_splits_have_different_signers_and_none_is_empty(signers: int) -> None:
    ids = [f"c{i}" for i in range(signers * 30)]
    signer_of: list[str | None] = [f"s{i % signers}" for i in range(len(ids))]
    splits = assign_splits(ids, ["g"] * len(ids), signer_of, unique(len(ids)))
    by_signer = defaultdict(set)
    for signer, split in zip(signer_of, splits, strict=True):
        by_signer[signer].add(split)
    assert all(len(s) == 1 for s in by_signer.values()) and set(splits) == {"train", "dev", "test"}
    if signers >= 6:
        assert Counter(splits)["train"] / len(ids) == pytest.approx(0.7, abs=0.1)


def test_a_single_signer_is_treated_as_unknown() -> None:
    ids = [f"c{i}" for i in range(80)]
    one = assign_splits(ids, ["g"] * 80, ["only"] * 80, unique(80))
    assert one == assign_splits(ids, ["g"] * 80, [None] * 80, unique(80))
    assert Counter(one) == {"train": 56, "dev": 8, "test": 16}


def test_the_digest_treats_every_nan_as_the_same() -> None:
    a = np.array([[[np.nan, 0.5, 0.25]]], np.float32)
    b = a.copy()
    b.view(np.uint32)[0, 0, 0] = 0xFFC00001  # another NaN
    assert np.isnan(b[0, 0, 0]) and poses_digest(a) == poses_digest(b) != poses_digest(a + 1)
