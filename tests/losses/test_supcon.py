"""SupCon against its equation, its gradient and its groups."""

import pytest
import torch

from signatlas.losses import grouped_supcon, supcon


def plain_supcon(z, labels, temperature):
    """L_out of Khosla et al. 2020, Eq. 2, term by term; an anchor without a positive counts as 0."""
    z = torch.nn.functional.normalize(z, dim=-1)
    terms = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        positives = [p for p in others if labels[p] == labels[i]]
        if not positives:
            terms.append(z.new_zeros(()))
            continue
        total = torch.logsumexp(torch.stack([z[i] @ z[a] / temperature for a in others]), 0)
        terms.append(-torch.stack([z[i] @ z[p] / temperature - total for p in positives]).mean())
    return torch.stack(terms).mean()


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(9, 5, dtype=torch.double), torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])


@pytest.mark.parametrize("temperature", [0.07, 0.1, 1.0])
def test_against_the_equation(batch, temperature):
    z, labels = batch
    torch.testing.assert_close(supcon(z, labels, temperature=temperature), plain_supcon(z, labels, temperature))


def test_an_anchor_without_a_positive_counts_as_zero_in_the_mean(batch):
    """The mean is over all nine anchors; the last one's class has no other sample."""
    z = batch[0]
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 3])
    torch.testing.assert_close(supcon(z, labels), plain_supcon(z, labels, 0.1))
    terms = [plain_supcon(z, torch.where(labels == label, 0, torch.arange(9) + 1), 0.1) for label in (0, 1, 2)]
    torch.testing.assert_close(supcon(z, labels), sum(terms))


def test_gradient(batch):
    z, labels = batch
    assert torch.autograd.gradcheck(lambda z: supcon(z, labels), (z.requires_grad_(),))


def test_the_order_of_the_batch_does_not_matter(batch):
    z, labels = batch
    shuffled = torch.randperm(9)
    torch.testing.assert_close(supcon(z, labels), supcon(z[shuffled], labels[shuffled]))


def test_a_batch_without_a_positive_pair_is_an_error(batch):
    with pytest.raises(ValueError, match="two samples of one class"):
        supcon(batch[0], torch.arange(9))


def test_samples_of_two_groups_are_not_compared(batch):
    z, labels = batch
    groups = torch.tensor([0] * 3 + [0] * 3 + [1] * 3)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 0, 0, 0])  # the same number in another group is another class
    expected = supcon(z[:6], labels[:6]) * 6 / 9 + supcon(z[6:], labels[6:]) * 3 / 9
    torch.testing.assert_close(grouped_supcon(z, labels, groups), expected)
    moved = z.clone()
    moved[6:] += 5
    first = torch.autograd.grad(grouped_supcon(z.requires_grad_(), labels, groups), z)[0][:6]
    second = torch.autograd.grad(grouped_supcon(moved.requires_grad_(), labels, groups), moved)[0][:6]
    torch.testing.assert_close(first, second)
