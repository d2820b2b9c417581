"""What a global batch needs across ranks: slices, gathered rows, gradients that add up."""

from __future__ import annotations

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
