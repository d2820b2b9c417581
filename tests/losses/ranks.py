"""Ranks as threads of one process: ``run(size, function)`` calls the function once a rank, all at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor


class _Exchange:
    """Each rank's tensor, seen by all of them."""

    def __init__(self, size: int):
        self.size, self.tensors, self.barrier = size, [torch.empty(0)] * size, threading.Barrier(size, timeout=60)

    def all(self, rank: int, tensor: Tensor) -> list[Tensor]:
        self.tensors[rank] = tensor
        self.barrier.wait()
        tensors = list(self.tensors)
        self.barrier.wait()
        return tensors


class ThreadRanks:
    """The protocol of ``signatlas.losses.Ranks`` without torch.distributed."""

    def __init__(self, rank: int, exchange: _Exchange):
        self.rank, self.size, self.exchange = rank, exchange.size, exchange

    def gather(self, rows: Tensor) -> Tensor:
        gathered: Tensor = _Gather.apply(rows, self)
        return gathered

    def sum(self, values: Tensor) -> Tensor:
        return torch.stack(self.exchange.all(self.rank, values.detach())).sum(0)

    def max(self, values: Tensor) -> Tensor:
        return torch.stack(self.exchange.all(self.rank, values.detach())).amax(0)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: ThreadRanks) -> Tensor:
        ctx.ranks = ranks
        return torch.cat(ranks.exchange.all(ranks.rank, rows.detach()))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = ctx.ranks.sum(gradients[0])
        return total.chunk(ctx.ranks.size)[ctx.ranks.rank].clone(), None


def run(size: int, function: Callable[[ThreadRanks], Any]) -> list[Any]:
    """Return what the function returned on each rank."""
    exchange = _Exchange(size)
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(function, [ThreadRanks(rank, exchange) for rank in range(size)]))
