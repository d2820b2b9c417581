"""Targets of identical texts, and the cross-entropies over them."""

from __future__ import annotations

import math

import pytest
import torch

from signatlas.losses import pair_targets
from signatlas.losses.sharded_cross_entropy import EXCLUDED, cross_entropy


def test_identical_texts_share_the_target():
    """Videos 0 and 2 have the same text in the second language, which is also video 1's text in the first."""
    owner, groups = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 1, 2, 1, 3, 1])
    targets = pair_targets(owner, groups, 3, identical="share", dtype=torch.float64)
    third = 1 / 6  # half of a video's target over three columns
    assert targets.rows[0].tolist() == pytest.approx([0.5, third, 0, third, 0, third])
    assert targets.rows[1].tolist() == pytest.approx([0, third, 0, third, 0.5, third])
    assert targets.columns[:, 1].tolist() == pytest.approx([1 / 3] * 3)
    assert targets.columns[:, 0].tolist() == [1, 0, 0]
    torch.testing.assert_close(targets.rows.sum(1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(targets.columns.sum(0), torch.ones(6, dtype=torch.float64))


def test_a_video_with_the_same_text_in_two_languages_keeps_its_target():
    targets = pair_targets(torch.tensor([0, 1, 0, 1]), torch.tensor([5, 6, 5, 7]), 2, identical="share")
    assert targets.rows[0].tolist() == [0.5, 0, 0.5, 0]


def test_masked_pairs_have_no_gradient_and_own_pairs_are_never_masked():
    targets = pair_targets(torch.arange(4), torch.tensor([0, 1, 0, 2]), 4, identical="mask")
    assert targets.ignored.nonzero().tolist() == [[0, 2], [2, 0]]
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    sum(cross_entropy(logits, targets)).backward()
    assert logits.grad[0, 2] == 0 == logits.grad[2, 0]
    assert (logits.grad != 0).sum() == 14


def test_masking_is_leaving_out():
    """The row of a video whose twin is masked is the row of the batch without the twin."""
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    masked = cross_entropy(logits, pair_targets(torch.arange(3), torch.tensor([0, 0, 1]), 3))[0] * 3
    rows = [-logits[0, [0, 2]].log_softmax(0)[0], -logits[1, [1, 2]].log_softmax(0)[0], -logits[2].log_softmax(0)[2]]
    assert float(masked) == pytest.approx(float(sum(rows)), rel=1e-6)


def test_negatives_count_in_the_rows_only():
    logits, more = torch.zeros(2, 2), torch.zeros(2, 3)
    more[1, 2] = EXCLUDED
    targets = pair_targets(torch.arange(2), torch.arange(2), 2)
    rows, columns = cross_entropy(logits, targets, more)
    assert float(rows) == pytest.approx((math.log(5) + math.log(4)) / 2)
    assert float(columns) == pytest.approx(math.log(2))


def test_a_video_without_a_text_is_refused():
    with pytest.raises(ValueError, match="3 videos, but only 2 have texts"):
        pair_targets(torch.tensor([0, 0, 2]), torch.arange(3), 3)
