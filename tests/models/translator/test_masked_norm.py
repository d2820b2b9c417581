"""Masked BatchNorm: equal to PyTorch's on valid frames; gradients, ranks, checkpointing, bf16."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from signatlas.models.translator.masked_norm import MaskedBatchNorm
from tests.models.translator import norm_ranks

LENGTHS = torch.tensor([9, 4, 1])
MASK = torch.arange(9)[None] < LENGTHS[:, None]


def pair(dtype: torch.dtype = torch.float32) -> tuple[MaskedBatchNorm, nn.BatchNorm1d, torch.Tensor]:
    torch.manual_seed(0)
    ours, theirs = MaskedBatchNorm(5).to(dtype), nn.BatchNorm1d(5).to(dtype)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs, torch.randn(3, 5, 9, dtype=dtype) * 3 + 2


def test_without_padding_it_equals_pytorch():
    ours, theirs, x = pair()
    full, a, b = torch.ones(3, 9, dtype=torch.bool), x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = ours(a, full), theirs(b)
    torch.testing.assert_close(y, expected)
    weights = torch.randn_like(y)
    (y * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(a.grad, b.grad)
    for our, their in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(our.grad, their.grad)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, msg=name)
    torch.testing.assert_close(ours.eval()(x, full), theirs.eval()(x))


@pytest.mark.parametrize("padding", [0.0, 1e6, float("nan")])
def test_padding_has_no_influence_on_values_statistics_and_gradients(padding):
    """PyTorch normalizes the valid frames as one long clip."""
    ours, theirs, x = pair()
    a = x.clone()
    a.transpose(1, 2)[~MASK] = padding
    a.requires_grad_()
    y = ours(a, MASK)
    rows = x.transpose(1, 2)[MASK].requires_grad_()  # [valid frames, C]
    expected = theirs(rows)
    torch.testing.assert_close(y.transpose(1, 2)[MASK], expected)
    assert (y.transpose(1, 2)[~MASK] == 0).all()
    y.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(a.grad.transpose(1, 2)[MASK], rows.grad, rtol=1e-4, atol=1e-5)
    assert (a.grad.transpose(1, 2)[~MASK] == 0).all()
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_equal_finite_differences(training):
    ours, _, x = pair(torch.float64)
    ours.train(training)
    inputs = (x.requires_grad_(), ours.weight, ours.bias)

    def run(x, weight, bias):
        return torch.func.functional_call(ours, {"weight": weight, "bias": bias}, (x, MASK))

    assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_recomputed_forward_does_not_update_the_running_statistics(reentrant):
    plain, theirs, x = pair()
    again = MaskedBatchNorm(5)
    again.load_state_dict(theirs.state_dict())
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    plain(a, MASK).square().sum().backward()
    checkpoint(again, b, MASK, use_reentrant=reentrant).square().sum().backward()
    torch.testing.assert_close(a.grad, b.grad)
    assert again.num_batches_tracked == 1
    torch.testing.assert_close(again.running_mean, plain.running_mean, rtol=0, atol=0)
    torch.testing.assert_close(again.running_var, plain.running_var, rtol=0, atol=0)


def test_bf16_keeps_its_statistics_in_fp32():
    ours, _, x = pair()
    expected = ours(x, MASK)
    low = MaskedBatchNorm(5)
    low.load_state_dict(pair()[0].state_dict())
    low.bfloat16()
    y = low(x.bfloat16(), MASK)
    assert y.dtype == low.weight.dtype == torch.bfloat16
    assert low.running_mean.dtype == low.running_var.dtype == torch.float32
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)
    for _ in range(300):  # in bf16 the mean would not reach that of the data
        low(x.bfloat16(), MASK)
    torch.testing.assert_close(low.running_mean, x.transpose(1, 2)[MASK].mean(0), rtol=1e-2, atol=1e-2)


def test_a_batch_without_frames_changes_nothing():
    ours, theirs, x = pair()
    y = ours(x, torch.zeros_like(MASK))
    assert (y == 0).all()
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_a_single_frame_is_finite():
    ours, _, x = pair()
    one = torch.zeros_like(MASK)
    one[1, 3] = True
    y = ours(x.requires_grad_(), one)
    y.sum().backward()
    assert y.isfinite().all() and x.grad.isfinite().all() and ours.running_var.isfinite().all()


@pytest.mark.slow
def test_two_ranks_have_the_gradients_and_statistics_of_one(tmp_path: Path):
    """For a sign embedding in fp64, with and without checkpointing; the ranks' clips differ in length."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = Path(norm_ranks.__file__)
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(port), str(tmp_path / f"{rank}.pt")],
            cwd=script.parents[3],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    alone = norm_ranks.result(slice(None), recompute=False)
    output = [process.communicate(timeout=120)[0] for process in processes]
    failed = [text for process, text in zip(processes, output, strict=True) if process.returncode]
    assert not failed, failed[0][-3000:]
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for run in ("plain", "recomputed"):
        for name, gradient in alone["gradients"].items():
            total = results[0][run]["gradients"][name] + results[1][run]["gradients"][name]
            torch.testing.assert_close(total, gradient, rtol=1e-9, atol=1e-10, msg=f"{run} {name}")
        for rank in range(2):
            for name, value in alone["statistics"].items():
                torch.testing.assert_close(results[rank][run]["statistics"][name], value, msg=f"{run} {name}")
    for name, value in results[0]["images"].items():
        assert torch.equal(results[1]["images"][name], value), f"ranks differ in {name}"
    assert results[0]["images"]["calls"] == 3, "equally many parts on both ranks"
