"""The processes that share a global batch: what a loss needs of them, for one process and for torch.distributed."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor


class Ranks(Protocol):
    """Communication among ``size`` ranks, each with equally many rows of a global batch. All ranks call together."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def gather(self, rows: Tensor) -> Tensor:
        """Return all ranks' rows [size * B, ...], rank after rank; gradients flow back to the owner of each row."""
        ...

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over ranks, without a gradient."""
        ...

    def max(self, values: Tensor) -> Tensor:
        """Return the maximum over ranks, without a gradient."""
        ...


class SingleProcess:
    """One process with the whole batch."""

    rank, size = 0, 1

    def gather(self, rows: Tensor) -> Tensor:
        return rows

    def sum(self, values: Tensor) -> Tensor:
        return values.detach()

    def max(self, values: Tensor) -> Tensor:
        return values.detach()


class DistributedRanks:
    """All ranks of torch.distributed's default process group; a single process while there is none."""

    @property
    def rank(self) -> int:
        return dist.get_rank() if self._initialized() else 0

    @property
    def size(self) -> int:
        return dist.get_world_size() if self._initialized() else 1

    def gather(self, rows: Tensor) -> Tensor:
        gathered: Tensor = rows if self.size == 1 else _Gather.apply(rows)
        return gathered

    def sum(self, values: Tensor) -> Tensor:
        return self._reduced(values, dist.ReduceOp.SUM)

    def max(self, values: Tensor) -> Tensor:
        return self._reduced(values, dist.ReduceOp.MAX)

    @staticmethod
    def _initialized() -> bool:
        return dist.is_available() and dist.is_initialized()

    def _reduced(self, values: Tensor, operation: Any) -> Tensor:
        result = values.detach().clone()
        if self.size > 1:
            dist.all_reduce(result, operation)
        return result


SINGLE_PROCESS = SingleProcess()


def sum_over_ranks(local: Tensor, ranks: Ranks) -> Tensor:
    """Return the sum over ranks; its gradient is that of this rank's part."""
    if ranks.size == 1:
        return local
    return local + (ranks.sum(local) - local.detach())


def logsumexp_over_ranks(local: Tensor, ranks: Ranks) -> Tensor:
    """Return the log-sum-exp over ranks of each rank's log-sum-exp [N]; the gradient goes to this rank's part."""
    if ranks.size == 1:
        return local
    result: Tensor = _LogSumExp.apply(local, ranks)
    return result


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        size = dist.get_world_size()
        gathered = rows.new_empty((size * len(rows), *rows.shape[1:]))
        dist.all_gather(list(gathered.chunk(size)), rows.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        rank, size = dist.get_rank(), dist.get_world_size()
        gradient = gradients[0].contiguous()
        local = gradient.chunk(size)[rank].clone()
        if dist.get_backend() == "nccl":
            dist.reduce_scatter_tensor(local, gradient)
            return local
        dist.all_reduce(gradient)  # gloo has no reduce-scatter
        return gradient.chunk(size)[rank].clone()


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, ranks: Ranks) -> Tensor:
        largest = ranks.max(local)
        result = largest + ranks.sum((local - largest).exp()).log()
        ctx.save_for_backward(local, result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        local, result = ctx.saved_tensors
        return gradients[0] * (local - result).exp(), None
