"""Gradient caching: the values and gradients of one pass with the memory of a chunk, random numbers included."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from signatlas.models.gradcache import in_chunks


class Noisy(nn.Module):
    """Draws from torch, numpy and Python in each pass, and counts its passes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.passes = nn.Linear(4, 3), 0

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.passes += 1
        noise = np.random.rand() + random.random()  # noqa: NPY002
        return nn.functional.dropout(self.layer(x) * noise, 0.5) * mask, x.sum(1)


def run(
    chunk: int | None, rows: slice = slice(None)
) -> tuple[torch.Tensor, torch.Tensor, int, tuple[float, float, float]]:
    torch.manual_seed(0)
    encoder, x = Noisy(), torch.randn(6, 4)
    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    outputs = []
    for start in range(0, 6, 2):  # the expected result: the same chunks, with all activations kept
        part = (x[start : start + 2], torch.ones(2, 3))
        outputs.append(encoder(*part)) if chunk is None else None
    y = torch.cat([o[0] for o in outputs]) if chunk is None else in_chunks(encoder, (x, torch.ones(6, 3)), chunk)[0]
    (y**2).sum().backward()
    after = (torch.rand(1).item(), float(np.random.rand()), random.random())  # noqa: NPY002
    return y.detach(), encoder.layer.weight.grad, encoder.passes, after


def test_values_gradients_and_random_state_equal_one_pass():
    plain, cached = run(None), run(2)
    torch.testing.assert_close(plain[0], cached[0])
    torch.testing.assert_close(plain[1], cached[1])
    assert plain[2] == 3
    assert cached[2] == 6, "each chunk is encoded a second time"
    assert plain[3] == cached[3], "later draws are not affected by the recomputation"


def test_activations_are_not_kept():
    """Counts what autograd saves: with chunks the inputs, without them the hidden layers."""
    encoder = nn.Sequential(nn.Linear(8, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 4))
    x = torch.randn(64, 8)

    def saved_numbers(chunk: int | None) -> int:
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            in_chunks(lambda a: (encoder(a),), (x,), chunk)
        return sum(sizes)

    assert saved_numbers(8) < saved_numbers(None) / 20


def test_without_gradients_there_is_one_pass():
    encoder = Noisy()
    with torch.no_grad():
        in_chunks(encoder, (torch.randn(6, 4), torch.ones(6, 3)), 2)
    assert encoder.passes == 1


def test_a_chunk_of_zero_rows_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        in_chunks(Noisy(), (torch.randn(6, 4), torch.ones(6, 3)), 0)
