"""Batch normalization over valid frames only, with the statistics of the whole batch of all ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def in_backward() -> bool:
    """Return whether a backward pass is running: a forward inside it is a recomputation of activation checkpointing."""
    return bool(torch._C._current_graph_task_id() != -1)


def all_reduce_sum(x: Tensor) -> Tensor:
    """Sum ``x`` over all ranks, in place, and return it; a no-op without a process group. Every rank must call it."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(x)
    return x


def apply_keeping_fp32(module: nn.Module, apply: Callable[[], Any]) -> Any:
    """Run ``apply``, which may convert a module to bf16, and keep its buffers fp32: small updates would be lost."""
    before = dict(module._buffers)
    result = apply()
    for name, after in module._buffers.items():
        original = before[name]
        if after is not None and original is not None and after.dtype in (torch.bfloat16, torch.float16):
            module._buffers[name] = original.to(device=after.device)
    return result


class MaskedBatchNorm(nn.BatchNorm1d):
    """``nn.BatchNorm1d`` of [B, C, T] over the frames of ``mask`` bool [B, T]; padding is zero in the output.

    In training, mean and variance are those of the valid frames of all ranks, and each rank's gradient is its rows'
    share of the gradient of one rank with all of them (which sums to the whole, see ``trainers.distributed``): as in
    synchronized BatchNorm, every rank must run the layer equally often. Statistics are fp32 for any input dtype. A
    forward repeated by activation checkpointing does not update the running statistics again. Evaluation needs no
    communication.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        return apply_keeping_fp32(self, lambda: super(MaskedBatchNorm, self)._apply(fn, recurse))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        precise = x.double() if x.dtype == torch.float64 else x.float()
        if self.training:
            mean, variance, count = _moments(precise, mask)
            self._update_statistics(mean, variance, count)
            scale = torch.rsqrt(variance + self.eps)
            normal = _Normalize.apply(precise, mask, mean, scale, count)
        else:
            assert self.running_mean is not None and self.running_var is not None
            mean, scale = self.running_mean, torch.rsqrt(self.running_var + self.eps)
            normal = (precise - mean[:, None].to(precise)) * scale[:, None].to(precise)
        y = normal * self.weight[:, None].to(precise) + self.bias[:, None].to(precise)
        return y.masked_fill(~mask[:, None], 0.0).to(x.dtype)

    @torch.no_grad()
    def _update_statistics(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Update the running statistics, with the unbiased variance as in PyTorch; without frames they stay."""
        if in_backward() or self.running_mean is None or self.running_var is None:
            return
        weight = (self.momentum or 0.0) * (count > 0)
        unbiased = variance * count / (count - 1).clamp_min(1)
        self.running_mean += weight * (mean - self.running_mean)
        self.running_var += weight * (unbiased - self.running_var)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


@torch.no_grad()
def _moments(x_BCT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance [C] over the valid frames of all ranks, and the number of frames as a tensor."""
    padding = ~mask_BT[:, None]
    total = x_BCT.masked_fill(padding, 0.0).sum((0, 2))
    both = all_reduce_sum(torch.cat([total, mask_BT.sum().to(total).reshape(1)]))
    count = both[-1]
    mean = both[:-1] / count.clamp_min(1)
    # Two passes avoid cancellation.
    squares = (x_BCT - mean[:, None]).masked_fill(padding, 0.0).square().sum((0, 2))
    return mean, all_reduce_sum(squares) / count.clamp_min(1), count


class _Normalize(torch.autograd.Function):
    """(x - mean) * scale, with gradients through mean and scale, which depend on x of all ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, mean: Tensor, scale: Tensor, count: Tensor) -> Tensor:
        normal = ((x - mean[:, None]) * scale[:, None]).masked_fill(~mask[:, None], 0.0)
        ctx.save_for_backward(normal, mask, scale, count)
        return normal

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        normal, mask, scale, count = ctx.saved_tensors
        padding = ~mask[:, None]
        gradient = gradients[0].masked_fill(padding, 0.0)
        sums = all_reduce_sum(torch.stack([gradient.sum((0, 2)), (gradient * normal).sum((0, 2))])) / count.clamp_min(1)
        change = gradient - sums[0][:, None] - normal * sums[1][:, None]
        return (change * scale[:, None]).masked_fill(padding, 0.0), None, None, None, None
