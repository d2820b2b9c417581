"""Temporal convolutions: lengths, masks, padding without influence, the sizes of GFSLT-VLP."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from signatlas.models.translator.sign_embedding import TemporalConvolution


def reference(model: TemporalConvolution, clip: torch.Tensor) -> torch.Tensor:
    """Return the tokens of one clip [n, D] through PyTorch's layers, in evaluation."""
    x = clip.T[None]
    for convolution, norm in zip(model.convolutions, model.norms, strict=True):
        plain = nn.BatchNorm1d(len(norm.weight)).eval()
        plain.load_state_dict(norm.state_dict())
        pool = nn.MaxPool1d(model.pool, ceil_mode=model.padding == "same")
        k, same = model.kernel, model.padding == "same"
        x = nn.functional.pad(x, ((k - 1) // 2, k // 2) if same else (0, 0))
        x = nn.functional.conv1d(x, convolution.weight, convolution.bias)
        x = pool(torch.relu(plain(x)))
    return x[0].T


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel, pool", [(5, 2), (4, 3), (3, 1)])
@pytest.mark.parametrize("garbage", [0.0, float("nan")])
def test_a_clip_does_not_depend_on_its_batch(padding, kernel, pool, garbage):
    torch.manual_seed(0)
    model = TemporalConvolution(6, 8, kernel=kernel, pool=pool, padding=padding)
    x, lengths = torch.randn(4, 50, 6), torch.tensor([50, 37, 24, 26])
    mask = torch.arange(50)[None] < lengths[:, None]
    x[~mask] = garbage
    model(x, mask)  # updates the running statistics
    model.eval()
    tokens, token_mask = model(x, mask)
    for row, n in enumerate(lengths.tolist()):
        expected = reference(model, x[row, :n])
        assert len(expected) == int(token_mask[row].sum()) == model.output_length(n)
        assert token_mask[row, : len(expected)].all()
        torch.testing.assert_close(tokens[row, : len(expected)], expected, rtol=1e-5, atol=1e-6)
        assert (tokens[row, len(expected) :] == 0).all()


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_in_training_more_padding_changes_neither_values_nor_gradients(padding):
    torch.manual_seed(0)
    model = TemporalConvolution(6, 8, padding=padding).double()
    x, mask = torch.randn(3, 40, 6).double(), torch.arange(40)[None] < torch.tensor([[40], [17], [29]])
    results = []
    for extra in (0, 13):
        model.zero_grad()
        longer = torch.cat([x, x.new_full((3, extra, 6), float("nan"))], 1).requires_grad_()
        tokens, token_mask = model(longer, nn.functional.pad(mask, (0, extra)))
        tokens.square().sum().backward()
        assert longer.grad.isfinite().all()
        results.append((tokens[token_mask], longer.grad[:, :40], *[p.grad.clone() for p in model.parameters()]))
    for short, long in zip(*results, strict=True):
        torch.testing.assert_close(long, short, rtol=1e-9, atol=1e-11)


def test_the_sizes_of_gfslt_vlp():
    """100 frames, kernel 5, pool 2, without padding: ((100-4)/2-4)/2 = 22 tokens of width 1024."""
    model = TemporalConvolution(512, 1024, blocks=2, kernel=5, pool=2, padding="valid")
    tokens, mask = model(torch.randn(2, 100, 512), torch.ones(2, 100, dtype=torch.bool))
    assert tokens.shape == (2, 22, 1024) and mask.all() and model.output_length(100) == 22


@pytest.mark.parametrize("frames, tokens", [(1, 1), (2, 1), (4, 1), (5, 2), (63, 16), (64, 16), (65, 17)])
def test_same_padding_rounds_up(frames, tokens):
    model = TemporalConvolution(3, 4)
    assert model.output_length(frames) == tokens
    out, mask = model(torch.randn(1, frames, 3), torch.ones(1, frames, dtype=torch.bool))
    assert out.shape[1] == tokens and mask.all()


@pytest.mark.parametrize("kernel, pool, blocks", [(5, 2, 2), (3, 3, 1), (4, 2, 3)])
def test_without_padding_a_short_clip_is_refused(kernel, pool, blocks):
    model = TemporalConvolution(3, 4, kernel=kernel, pool=pool, blocks=blocks, padding="valid")
    n = model.shortest
    assert model.output_length(n) == 1
    x, mask = torch.randn(2, n, 3), torch.ones(2, n, dtype=torch.bool)
    assert model(x, mask)[1].sum(1).tolist() == [1, 1]
    mask[1, -1] = False
    with pytest.raises(ValueError, match=rf"clip of {n - 1} frames is too short.* need {n}$"):
        model(x, mask)
    with pytest.raises(ValueError, match=f"need {n}$"):
        model.output_length(n - 1)


def test_without_blocks_the_inputs_are_returned():
    x, mask = torch.randn(2, 7, 3), torch.arange(7)[None] < torch.tensor([[7], [2]])
    tokens, token_mask = TemporalConvolution(3, 4, blocks=0)(x, mask)
    assert torch.equal(tokens, x * mask[..., None]) and torch.equal(token_mask, mask)
