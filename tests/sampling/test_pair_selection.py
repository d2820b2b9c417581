"""Pair selection against a plain implementation that sorts everything anew, on many cases; the curriculum."""

import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signatlas.sampling import (
    DenseDelta,
    LowRankDelta,
    Schedule,
    TokenDelta,
    curriculum_alpha,
    plan_epoch,
    select_batches,
)
from signatlas.sampling.pair_selection import greedy
from signatlas.sampling.pair_selection.reference import select_batches as plain


@settings(max_examples=120, deadline=None)
@given(
    count=st.integers(1, 40), batch_size=st.integers(1, 9), alpha=st.sampled_from([0, 0.1, 1 / 3, 0.5, 0.77, 1]),
    seed=st.integers(0, 10_000), kind=st.sampled_from(["float64", "float16", "ties", "constant"]),
    texts=st.sampled_from([None, 1, 3, 10, 1000]), window=st.sampled_from([0, 0.05, 0.3, 1]),
)  # fmt: skip
def test_equals_the_plain_implementation(count, batch_size, alpha, seed, kind, texts, window):
    if count < batch_size:
        count = batch_size
    rng = np.random.default_rng(seed)
    delta = rng.normal(0, 0.2, (count, count))
    delta = {"float64": delta, "float16": delta.astype(np.float16), "ties": rng.integers(-1, 2, (count, count)),
             "constant": np.zeros((count, count), np.float32)}[kind]  # fmt: skip
    groups = None if texts is None else rng.integers(0, texts, count)
    batches = select_batches(delta, batch_size, alpha, seed=seed, groups=groups, window=window)
    expected = plain(delta, batch_size, alpha, seed=seed, groups=groups, window=window)
    np.testing.assert_array_equal(batches, expected)
    assert len(np.unique(batches)) == batches.size


def test_equals_the_plain_implementation_across_tiles_of_the_matrix(monkeypatch):
    monkeypatch.setattr("signatlas.sampling.pair_selection.sources.TILE", 13)
    delta = np.random.default_rng(0).normal(0, 0.2, (83, 83)).astype(np.float16)
    np.testing.assert_array_equal(
        select_batches(delta, 8, 0.4, seed=3, groups=np.arange(83) // 2),
        plain(delta, 8, 0.4, seed=3, groups=np.arange(83) // 2),
    )


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(1, 400), seed=st.integers(0, 10_000), distinct=st.sampled_from([1, 2, 5, 60, 10**9]),
    ordered=st.booleans(), out=st.floats(0, 0.9), share=st.floats(0, 1),
)  # fmt: skip
def test_the_item_at_a_rank_is_that_of_a_stable_sort(count, seed, distinct, ordered, out, share):
    """Also if the sample bounds the rank wrongly; scores of non-candidates are infinite."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(-distinct, distinct, count) / 7.0
    scores = np.sort(scores) if ordered else scores
    scores[rng.permutation(count)[: int(out * count)]] = np.inf
    rank = int(share * (np.isfinite(scores).sum() - 1))
    expected = np.argsort(scores, kind="stable")[rank]
    assert greedy._at_rank(scores, rank) == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(greedy, "MANY", 16)
        for sample in (1, 4, 16):
            patch.setattr(greedy, "SAMPLE", sample)
            assert greedy._at_rank(scores, rank) == expected
        patch.setattr(greedy, "_bounds", lambda scores, rank: (scores.max(), scores.max()))  # wrong on purpose
        assert greedy._at_rank(scores, rank) == expected


def mean_change(delta, batches):
    """Mean delta of the negatives within batches."""
    inside = delta[batches[:, :, None], batches[:, None, :]]
    return inside[:, ~np.eye(batches.shape[1], dtype=bool)].mean()


def test_batches_get_harder_with_alpha():
    rng = np.random.default_rng(0)
    delta = rng.normal(0, 0.2, (300, 300))
    means = [mean_change(delta, select_batches(delta, 8, alpha, seed=1)) for alpha in (0, 0.25, 0.5, 0.75, 1)]
    assert means == sorted(means)
    assert means[0] < -0.05
    assert means[-1] > 0.05
    assert abs(means[2]) < 0.03


def test_a_window_of_all_candidates_is_a_random_draw():
    """Every pair of clips shares a batch about equally often, whatever delta is."""
    delta = np.add.outer(np.arange(24.0), np.arange(24.0))
    met = np.zeros((24, 24), int)
    for seed in range(600):
        for batch in select_batches(delta, 4, 1.0, seed=seed, window=1.0):
            met[batch[:, None], batch] += 1
    pairs = met[~np.eye(24, dtype=bool)]
    assert pairs.mean() == pytest.approx(600 * 3 / 23)
    assert np.abs(pairs - pairs.mean()).max() < 5 * np.sqrt(pairs.mean())


def test_clips_that_are_left_out_are_random_whatever_the_changes_are():
    """At alpha 0 clip 18 would always be the last to be selected."""
    delta = np.add.outer(np.arange(19.0), np.arange(19.0))
    missing = np.zeros(19, int)
    for seed in range(400):
        missing[np.setdiff1d(np.arange(19), select_batches(delta, 4, 0.0, seed=seed))] += 1
    assert missing.sum() == 3 * 400
    assert missing.min() > 63 - 5 * np.sqrt(63)
    assert missing.max() < 63 + 5 * np.sqrt(63)


def test_identical_texts_share_a_batch_only_when_nothing_else_is_left():
    delta = np.random.default_rng(0).normal(size=(60, 60))
    groups = np.repeat(np.arange(30), 2)
    repeats = [len(np.unique(groups[batch])) < 6 for batch in select_batches(delta, 6, 1.0, seed=0, groups=groups)]
    assert not any(repeats[:-2])
    identical = select_batches(delta, 6, 1.0, seed=0, groups=np.zeros(60, int))
    np.testing.assert_array_equal(np.sort(identical.ravel()), np.arange(60))
    # Groups that distinguish every clip change nothing.
    np.testing.assert_array_equal(
        select_batches(delta, 6, 0.5, seed=0, groups=np.arange(60)[::-1]), select_batches(delta, 6, 0.5, seed=0)
    )


@pytest.mark.parametrize(
    ("delta", "batch_size", "options", "message"),
    [
        (np.zeros((4, 5)), 2, {}, r"must be square, .* got \(4, 5\)"),
        (np.zeros(4), 2, {}, "must be square"),
        (np.full((4, 4), np.nan), 2, {}, "not finite between clips 0 and 0"),
        (np.where(np.eye(5)[::-1] * np.arange(5) == 4, np.inf, 0), 2, {}, "not finite between clips 0 and 4"),
        (np.zeros((4, 4)), 5, {}, "cannot select batches of 5 from 4 clips"),
        (np.zeros((4, 4)), 0, {}, "batches of 0"),
        (np.zeros((4, 4)), 2, {"alpha": 1.1}, r"alpha must be in 0\.\.1"),
        (np.zeros((4, 4)), 2, {"alpha": float("nan")}, r"alpha must be in 0\.\.1"),
        (np.zeros((4, 4)), 2, {"window": -0.1}, r"window must be in 0\.\.1"),
        (np.zeros((4, 4)), 2, {"groups": [1, 2]}, r"groups of shape \(2,\) for 4 clips"),
    ],
)
def test_mistakes_are_reported_in_one_line(delta, batch_size, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        select_batches(delta, batch_size, **{"alpha": 0.5, "seed": 0} | options)
    assert "\n" not in str(caught.value)


def test_pools_of_whole_batches_have_all_clips_but_the_remainder():
    delta = np.random.default_rng(0).normal(size=(103, 103))
    plan = plan_epoch(DenseDelta(delta), 4, 0.3, seed=(7, 2), pool=33)
    assert plan.shape == (25, 4)
    assert len(np.unique(plan)) == 100
    np.testing.assert_array_equal(plan, plan_epoch(DenseDelta(delta), 4, 0.3, seed=(7, 2), pool=33))
    assert not np.array_equal(plan, plan_epoch(DenseDelta(delta), 4, 0.3, seed=(7, 3), pool=33))
    # Within its pool each batch is what select_batches selects there: four pools of 6 or 7 batches.
    order = np.random.default_rng([7, 2]).permutation(103)[:100]
    ends, start = [24, 48, 72, 100], 0
    for number, end in enumerate(ends):
        rows = np.sort(order[start:end])
        inside = plain(delta[np.ix_(rows, rows)], 4, 0.3, seed=[7, 2, number + 1])
        np.testing.assert_array_equal(plan[start // 4 : end // 4], rows[inside])
        start = end


def test_groups_are_kept_apart_within_pools():
    delta = np.random.default_rng(0).normal(size=(96, 96))
    groups = np.arange(96) % 40
    plan = plan_epoch(DenseDelta(delta), 4, 0.9, seed=1, groups=groups, pool=48)
    assert sum(len(np.unique(groups[batch])) < 4 for batch in plan) <= 3


def test_one_pool_of_the_whole_corpus_equals_select_batches():
    delta = np.random.default_rng(0).normal(size=(50, 50))
    np.testing.assert_array_equal(
        plan_epoch(DenseDelta(delta), 4, 0.3, seed=7, pool=50), select_batches(delta, 4, 0.3, seed=7)
    )
    with pytest.raises(ValueError, match="a pool of 3 clips does not fill a batch of 4"):
        plan_epoch(DenseDelta(delta), 4, 0.3, seed=7, pool=3)


@pytest.fixture
def factors():
    """Mean-pooled vectors float16 of two checkpoints: left and right of each."""
    rng = np.random.default_rng(5)
    parts = [rng.normal(size=(90, 12)) for _ in range(4)]
    u0, uK, v0, vK = ((x / np.linalg.norm(x, axis=1, keepdims=True) * 0.9).astype(np.float16) for x in parts)
    return [u0, uK], [v0, vK]


@pytest.mark.parametrize("pool", [None, 40])
def test_tokens_and_low_rank_factors_select_the_same_as_their_matrix(factors, pool, monkeypatch):
    left, right = factors
    unit = 2.0**18
    (a0, aK), (b0, bK) = ([np.rint(x.astype(float) * unit) / unit for x in side] for side in factors)
    delta = aK @ bK.T - a0 @ b0.T
    options = {"seed": 2, "groups": np.arange(90) // 2, "window": 0.1, "pool": pool}
    expected = plan_epoch(DenseDelta(delta), 8, 0.6, **options)
    tokens = TokenDelta(lambda rows, columns: delta[np.ix_(rows, columns)], len(delta))
    np.testing.assert_array_equal(plan_epoch(tokens, 8, 0.6, **options), expected)
    low = LowRankDelta(left, right, (-1.0, 1.0))
    assert len(low) == len(tokens) == 90
    np.testing.assert_array_equal(plan_epoch(low, 8, 0.6, **options), expected)
    monkeypatch.setattr("signatlas.sampling.pair_selection.sources.MATRIX", 1)  # running sums of factors
    np.testing.assert_array_equal(plan_epoch(low, 8, 0.6, **options), expected)


def test_factors_that_do_not_match_are_refused(factors):
    left, right = factors
    with pytest.raises(ValueError, match="2 left, 1 right factors and 2 weights"):
        LowRankDelta(left, right[:1], (-1, 1))
    with pytest.raises(ValueError, match="differ in shape"):
        LowRankDelta(left, [right[0], right[1][:, :3]], (-1, 1))
    with pytest.raises(ValueError, match=r"not within -1\.\.1"):
        plan_epoch(LowRankDelta([left[0] * np.nan, left[1]], right, (-1, 1)), 4, 0.5, seed=0)


# --- the curriculum


def test_the_two_readings_of_log_differ():
    # p = .1 of 80 epochs is just before epoch 8.
    assert curriculum_alpha("log", 8, 80) == pytest.approx(math.log(9) / math.log(80))
    assert curriculum_alpha("log2", 8, 80) == pytest.approx(math.log2(1 + 8 / 79))
    assert 0.47 < curriculum_alpha("log", 7, 80) < 0.50 < curriculum_alpha("log", 8, 80) < 0.51
    assert curriculum_alpha("log2", 8, 80) == pytest.approx(0.14, abs=0.001)


@pytest.mark.parametrize("epochs", [2, 3, 7, 80])
@pytest.mark.parametrize("schedule", ["linear", "sqrt", "log", "log2"])
def test_schedules_rise_from_0_to_1(schedule, epochs):
    values = [curriculum_alpha(schedule, e, epochs) for e in range(epochs)]
    assert values[0] == 0
    assert values[-1] == 1
    assert values == sorted(set(values))


def test_easy_and_hard_are_constant_and_the_others_are_ordered():
    for e in range(1, 9):
        linear, sqrt, log, log2 = (curriculum_alpha(name, e, 10) for name in ("linear", "sqrt", "log", "log2"))
        assert curriculum_alpha("easy", e, 10) == 0
        assert curriculum_alpha("hard", e, 10) == 1
        assert linear == e / 9
        assert linear < log2 < min(sqrt, log)


@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_a_single_epoch_is_easy_unless_the_schedule_is_hard(schedule):
    assert curriculum_alpha(schedule, 0, 1) == (1.0 if schedule == "hard" else 0.0)


@pytest.mark.parametrize(("schedule", "epoch", "epochs"), [("log", 5, 5), ("log", -1, 5), ("cubic", 0, 5)])
def test_unknown_schedules_and_epochs_are_refused(schedule, epoch, epochs):
    with pytest.raises(ValueError, match=r"not one of 5|use one of easy"):
        curriculum_alpha(schedule, epoch, epochs)
