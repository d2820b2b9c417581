"""CiCo's, CLIP's and the 1-to-K loss against their definitions, written out a second time and slowly."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from signatlas.losses import clip_contrastive, fine_grained_contrastive, one_to_k_contrastive
from signatlas.losses.sharded_cross_entropy import EXCLUDED, cross_entropy
from signatlas.losses.targets import pair_targets
from signatlas.similarity import fine_grained


def batch(B=5, L=7, T=4, D=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    video, text, other = (torch.randn(B, n, D, generator=g, dtype=torch.float64) for n in (L, T, T))
    video_mask, text_mask = torch.ones(B, L, dtype=torch.bool), torch.ones(B, T, dtype=torch.bool)
    video_mask[0, 3:], text_mask[1, 2:] = False, False
    return video, text, video_mask, text_mask, other


def ce(logits, dim):
    """Mean over rows (dim 1) or columns (dim 0) of -log softmax at the diagonal."""
    return -(logits.log_softmax(dim).diagonal()).mean()


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("weighting", ["balance", "depart"])
def test_the_loss_is_the_one_of_the_facts(beta, weighting):
    video, text, video_mask, text_mask, other = batch()
    i2t = 20 * fine_grained(video, text, video_mask, text_mask)[0]
    t2i = 20 * fine_grained(video, other, video_mask, text_mask)[1]
    b = beta
    if weighting == "balance":
        wanted = b * ce(i2t, 1) + (1 - b) * ce(i2t, 0) + b * ce(t2i, 0) + (1 - b) * ce(t2i, 1)
    else:
        wanted = b * (ce(i2t, 1) + ce(i2t, 0)) + (1 - b) * (ce(t2i, 1) + ce(t2i, 0))
    found = fine_grained_contrastive(
        video, text, video_mask, text_mask, logit_scale=20.0, beta=beta, weighting=weighting,
        text_augmented=other, text_augmented_mask=text_mask,
    )  # fmt: skip
    assert float(found) == pytest.approx(float(wanted) / 2, rel=1e-12)


def test_both_weightings_are_one_at_half():
    video, text, video_mask, text_mask, _ = batch()
    both = [
        fine_grained_contrastive(video, text, video_mask, text_mask, logit_scale=9.0, weighting=w)
        for w in ("balance", "depart")
    ]
    assert float(both[0]) == pytest.approx(float(both[1]), rel=1e-12)


def test_gradients_of_the_whole_loss():
    video, text, video_mask, text_mask, other = batch(B=3, L=3, T=2, D=4)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)

    def loss(v, t, a, s):
        return fine_grained_contrastive(
            v, t, video_mask, text_mask, logit_scale=s, text_augmented=a, text_augmented_mask=text_mask,
            identical="mask", groups=torch.tensor([0, 1, 0]), beta=0.3,
        )  # fmt: skip

    inputs = [x.clone().requires_grad_() for x in (video, text, other)]
    assert torch.autograd.gradcheck(loss, (*inputs, scale))


def test_more_padding_changes_nothing():
    video, text, video_mask, text_mask, _ = batch()
    short = fine_grained_contrastive(video, text, video_mask, text_mask, logit_scale=20.0)
    video, text = F.pad(video, (0, 0, 0, 5), value=7.0), F.pad(text, (0, 0, 0, 3), value=-3.0)
    longer = fine_grained_contrastive(
        video, text, F.pad(video_mask, (0, 5)), F.pad(text_mask, (0, 3)), logit_scale=20.0
    )
    assert float(short) == pytest.approx(float(longer), rel=1e-12)


def test_clip_is_the_mean_of_both_cross_entropies():
    g = torch.Generator().manual_seed(1)
    video, text = torch.randn(6, 5, generator=g), torch.randn(6, 5, generator=g)
    logits = 10 * F.normalize(video, dim=1) @ F.normalize(text, dim=1).T
    labels = torch.arange(6)
    wanted = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    assert float(clip_contrastive(video, text, logit_scale=10.0)) == pytest.approx(float(wanted), rel=1e-6)


def test_one_to_one_is_clip():
    g = torch.Generator().manual_seed(2)
    video, text = torch.randn(6, 5, generator=g), torch.randn(6, 5, generator=g)
    one = one_to_k_contrastive(video, text[None], logit_scale=10.0)
    assert float(one) == pytest.approx(float(clip_contrastive(video, text, logit_scale=10.0)), rel=1e-6)


def test_one_to_k_against_its_definition():
    """Clip to text: 1/K on each of its own texts among K*B; text to clip: its one clip among B."""
    K, B, g = 3, 4, torch.Generator().manual_seed(3)
    video, texts = torch.randn(B, 5, generator=g), torch.randn(K, B, 5, generator=g)
    logits = 8 * F.normalize(video, dim=-1) @ F.normalize(texts.reshape(K * B, -1), dim=-1).T
    to_text = -sum(logits.log_softmax(1)[b, k * B + b] / K for b in range(B) for k in range(K)) / B
    to_clip = -sum(logits.log_softmax(0)[b, k * B + b] for b in range(B) for k in range(K)) / (K * B)
    found = one_to_k_contrastive(video, texts, logit_scale=8.0)
    assert float(found) == pytest.approx(float(to_text + to_clip) / 2, rel=1e-6)


def test_languages_are_treated_alike():
    g = torch.Generator().manual_seed(4)
    video, texts = torch.randn(4, 5, generator=g), torch.randn(3, 4, 5, generator=g)
    one = one_to_k_contrastive(video, texts, logit_scale=8.0)
    other = one_to_k_contrastive(video, texts[[2, 0, 1]], logit_scale=8.0)
    assert float(one) == pytest.approx(float(other), rel=1e-6)


def test_identical_texts_share_the_mass():
    """Clips 0 and 2 have the same text in the second language, which is also clip 1's text in the first."""
    owner, group = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 1, 2, 1, 3, 1])
    targets = pair_targets(owner, group, 3, identical="share", dtype=torch.float64)
    third = 1 / 6  # half of a clip's mass over three columns
    assert targets.rows[0].tolist() == pytest.approx([0.5, third, 0, third, 0, third])
    assert targets.rows[1].tolist() == pytest.approx([0, third, 0, third, 0.5, third])
    assert targets.columns[:, 1].tolist() == pytest.approx([1 / 3] * 3)
    assert targets.columns[:, 0].tolist() == [1, 0, 0]
    torch.testing.assert_close(targets.rows.sum(1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(targets.columns.sum(0), torch.ones(6, dtype=torch.float64))


def test_a_clip_with_one_text_in_two_languages_keeps_its_mass():
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
    """The row of a clip whose twin is masked is the row of the batch without the twin."""
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    masked = cross_entropy(logits, pair_targets(torch.arange(3), torch.tensor([0, 0, 1]), 3))[0] * 3
    rows = [-logits[0, [0, 2]].log_softmax(0)[0], -logits[1, [1, 2]].log_softmax(0)[0], -logits[2].log_softmax(0)[2]]
    assert float(masked) == pytest.approx(float(sum(rows)), rel=1e-6)


def test_negatives_enter_the_rows_only():
    logits, more = torch.zeros(2, 2), torch.zeros(2, 3)
    more[1, 2] = EXCLUDED
    targets = pair_targets(torch.arange(2), torch.arange(2), 2)
    rows, columns = cross_entropy(logits, targets, more)
    assert float(rows) == pytest.approx((math.log(5) + math.log(4)) / 2)
    assert float(columns) == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pair_targets(torch.tensor([0, 0, 2]), torch.arange(3), 3), "each needs one"),
        (lambda: clip_contrastive(torch.ones(2, 3), torch.ones(3, 3), logit_scale=1.0), "must be pairs"),
        (lambda: clip_contrastive(torch.ones(2, 3), torch.ones(2, 3), logit_scale=1.0, identical="mask"), "groups"),
        (lambda: clip_contrastive(torch.ones(2, 3), torch.ones(2, 4), logit_scale=1.0), "4"),
    ],
)
def test_mistakes_are_said(call, words):
    with pytest.raises(ValueError, match=words):
        call()
