"""Global batches across ranks: slices, gathered rows, gradients, parameters."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from signatlas.models.logit_scale import MAX_LOGIT_SCALE, LogitScale


def world() -> tuple[int, int]:
    """Return (rank, number of ranks); (0, 1) outside a process group."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def local_slice(batch: np.ndarray, rank: int, ranks: int) -> np.ndarray:
    """Return this rank's rows of a global batch [B]: ceil(B / ranks), padded with the last row of the batch."""
    size = -(-len(batch) // ranks)
    rows = np.arange(rank * size, (rank + 1) * size)
    return batch[np.minimum(rows, len(batch) - 1)]


def gather_rows(local: Tensor, total: int) -> Tensor:
    """Return the rows of all ranks in batch order [total, ...]; gradients flow into this rank's rows only.

    Every rank computes the same global loss from them. Multiplied by the number of ranks, its gradients, averaged by
    DeepSpeed, are those of one rank with the whole batch.
    """
    rank, ranks = world()
    if ranks == 1:
        return local[:total]
    parts = [torch.empty_like(local) for _ in range(ranks)]
    dist.all_gather(parts, local.detach().contiguous())
    parts[rank] = local
    return torch.cat(parts)[:total]


def start_logit_scale(model: LogitScale) -> None:
    """Give the optimizer's fp32 master copy the initial logit scale, which the cast to bf16 has rounded."""
    if model.log_scale.requires_grad and _is_managed(model.log_scale):
        _set_master(model.log_scale, model.log_scale_fp32.clone())


def limit_logit_scale(model: LogitScale) -> None:
    """Limit the logit multiplier after an optimizer step, and copy its fp32 master value to the model's buffer."""
    model.log_scale_fp32.copy_(limit_parameter(model.log_scale, math.log(MAX_LOGIT_SCALE)))


@torch.no_grad()
def limit_parameter(parameter: torch.nn.Parameter, maximum: float) -> Tensor:
    """Clamp a parameter of one element to ``maximum``, and its fp32 master copy under ZeRO or bf16.

    Return its value in fp32.
    """
    from deepspeed.utils import safe_get_full_fp32_param

    master = safe_get_full_fp32_param(parameter) if _is_managed(parameter) else None
    if master is not None:
        master = master.clamp(max=maximum)
        _set_master(parameter, master)
    if parameter.numel():  # under ZeRO-3 the local tensor is empty
        parameter.clamp_(max=maximum)
    return parameter.detach().float() if master is None else master


def _set_master(parameter: torch.nn.Parameter, value: Tensor) -> None:
    """Set the fp32 master copy of a parameter of one element."""
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_local_fp32_param

    if hasattr(parameter, "ds_id"):
        # ZeRO-3 gives every rank a partition of one element, padding on all ranks but the first; setting the full
        # parameter fails on those (DeepSpeed 0.19.8).
        safe_set_local_fp32_param(parameter, value.flatten())
    else:
        safe_set_full_fp32_param(parameter, value)


def full_parameter(parameter: torch.nn.Parameter) -> Tensor:
    """Return a copy of a parameter's values, gathered under ZeRO-3; called on all ranks."""
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
        return parameter.detach().clone()


def _is_managed(parameter: torch.nn.Parameter) -> bool:
    return hasattr(parameter, "_hp_mapping") or hasattr(parameter, "ds_id")
