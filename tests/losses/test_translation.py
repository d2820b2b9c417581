"""Label-smoothed cross-entropy: against its definition, its gradient, padding."""

from __future__ import annotations

import pytest
import torch

from signatlas.losses.translation import label_smoothed


def by_definition(logits, labels, mask, smoothing):
    total = 0.0
    for row in range(len(labels)):
        for place in range(labels.shape[1]):
            if mask[row, place]:
                logp = logits[row, place].log_softmax(-1)
                total = total - (1 - smoothing) * logp[labels[row, place]] - smoothing * logp.mean()
    return total


@pytest.fixture
def batch():
    torch.manual_seed(0)
    mask = torch.tensor([[True, True, True, False], [True, True, False, False]])
    return torch.randn(2, 4, 7, dtype=torch.float64), torch.randint(7, (2, 4)), mask


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.2])
def test_it_is_its_definition(batch, smoothing):
    torch.testing.assert_close(label_smoothed(*batch, smoothing), by_definition(*batch, smoothing))


def test_its_gradient(batch):
    logits, labels, mask = batch
    assert torch.autograd.gradcheck(lambda x: label_smoothed(x, labels, mask, 0.2), logits.requires_grad_())


def test_padding_may_hold_anything(batch):
    logits, labels, mask = batch
    corrupted, other = logits.clone(), labels.clone()
    corrupted[~mask], other[~mask] = float("nan"), 6
    torch.testing.assert_close(label_smoothed(corrupted, other, mask, 0.2), label_smoothed(logits, labels, mask, 0.2))


def test_half_precision_is_summed_in_fp32(batch):
    logits, labels, mask = batch
    found = label_smoothed(logits.bfloat16(), labels, mask, 0.2)
    assert found.dtype == torch.float32
