"""Label-smoothed cross-entropies against their definitions: gradients, padding, precision."""

from __future__ import annotations

import pytest
import torch

from signatlas.losses import classification_loss, denoising_loss, label_smoothed


def by_definition(logits, labels, mask, smoothing):
    total = 0.0
    for row in range(len(labels)):
        for position in range(labels.shape[1]):
            if mask[row, position]:
                logp = logits[row, position].log_softmax(-1)
                total = total - (1 - smoothing) * logp[labels[row, position]] - smoothing * logp.mean()
    return total


@pytest.fixture
def batch():
    torch.manual_seed(0)
    mask = torch.tensor([[True, True, True, False], [True, True, False, False]])
    return torch.randn(2, 4, 7, dtype=torch.float64), torch.randint(7, (2, 4)), mask


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.2])
def test_it_equals_its_definition(batch, smoothing):
    torch.testing.assert_close(label_smoothed(*batch, smoothing), by_definition(*batch, smoothing))


def test_gradcheck(batch):
    logits, labels, mask = batch
    assert torch.autograd.gradcheck(lambda x: label_smoothed(x, labels, mask, 0.2), logits.requires_grad_())


def test_padding_may_hold_anything(batch):
    logits, labels, mask = batch
    corrupted, other = logits.clone(), labels.clone()
    corrupted[~mask], other[~mask] = float("nan"), 6
    torch.testing.assert_close(label_smoothed(corrupted, other, mask, 0.2), label_smoothed(logits, labels, mask, 0.2))


def test_half_precision_is_summed_in_fp32(batch):
    logits, labels, mask = batch
    loss = label_smoothed(logits.bfloat16(), labels, mask, 0.2)
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_denoising_sums_over_pieces_that_are_not_padding(batch, smoothing):
    logits, labels, mask = batch
    pad = 6
    labels = torch.where(mask, labels.clamp(max=5), pad)
    loss, correct = denoising_loss(logits, labels, pad, smoothing)
    expected = by_definition(logits, labels, mask, smoothing)
    torch.testing.assert_close(loss, expected.float())
    assert int(correct) == sum(int(logits[i].argmax() == labels[i]) for i in map(tuple, mask.nonzero().tolist()))


def test_classification_is_a_mean_over_the_batch(batch):
    scores, labels = batch[0][:, 0], batch[1][:, 0]
    expected = by_definition(scores[:, None], labels[:, None], torch.ones(2, 1, dtype=torch.bool), 0.1) / 2
    torch.testing.assert_close(classification_loss(scores, labels, 0.1), expected)
