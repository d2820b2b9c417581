"""What a global batch needs across ranks: slices, gathered rows, gradients that add up."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor


def world() -> tuple[int, int]:
    """(rank, number of ranks); (0, 1) outside a process group."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def local_slice(batch: np.ndarray, rank: int, ranks: int) -> np.ndarray:
    """This rank's rows of a global batch [B]: ceil(B / ranks) of them, the last one repeated where B runs out."""
    size = -(-len(batch) // ranks)
    rows = np.arange(rank * size, (rank + 1) * size)
    return batch[np.minimum(rows, len(batch) - 1)]


def gather_rows(local: Tensor, total: int) -> Tensor:
    """All ranks' rows in batch order [total, ...]; gradients flow into this rank's own rows only.

    Every rank then computes the same global loss. Multiplied by the number of ranks, its gradients average (as
    DeepSpeed does) to those of one rank with the whole batch.
    """
    rank, ranks = world()
    if ranks == 1:
        return local[:total]
    parts = [torch.empty_like(local) for _ in range(ranks)]
    dist.all_gather(parts, local.detach().contiguous())
    parts[rank] = local
    return torch.cat(parts)[:total]


def gather_with_gradient(local: Tensor) -> Tensor:
    """All ranks' rows [W * B, ...]; every rank's gradient flows back to the rank that owns the row.

    Unlike :func:`gather_rows`, for losses in which each rank computes only its own part of the pairs: a text takes
    gradient from the videos of all ranks. All ranks hold equally many rows.
    """
    return local if world()[1] == 1 else _Gather.apply(local)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        ranks = world()[1]
        whole = local.new_empty((ranks * len(local), *local.shape[1:]))
        dist.all_gather(list(whole.chunk(ranks)), local.contiguous())
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        rank, ranks = world()
        whole = gradients[0].contiguous()
        mine = whole.chunk(ranks)[rank].clone()
        if dist.get_backend() == "nccl":
            dist.reduce_scatter_tensor(mine, whole)
            return mine
        dist.all_reduce(whole)  # gloo reduces and scatters in two steps
        return whole.chunk(ranks)[rank].clone()


@torch.no_grad()
def limit_parameter(parameter: torch.nn.Parameter, largest: float) -> None:
    """Keep a parameter at most ``largest`` after an optimizer step, its fp32 master of ZeRO and bf16 as well."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_set_full_fp32_param

    master = safe_get_full_fp32_param(parameter) if _is_managed(parameter) else None
    if master is not None:
        safe_set_full_fp32_param(parameter, master.clamp(max=largest))
    if parameter.numel():  # ZeRO-3 leaves an empty shell here
        parameter.clamp_(max=largest)


def whole(parameter: torch.nn.Parameter) -> Tensor:
    """A copy of a parameter's values, gathered where ZeRO-3 has scattered them. Called on every rank at once."""
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
        return parameter.detach().clone()


def _is_managed(parameter: torch.nn.Parameter) -> bool:
    return hasattr(parameter, "_hp_mapping") or hasattr(parameter, "ds_id")
