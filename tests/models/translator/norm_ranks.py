"""One of two ranks of the test of BatchNorm across ranks: python norm_ranks.py RANK PORT OUT."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from signatlas.models.translator.config import BackboneConfig, ResNetSizes, SignEmbeddingConfig
from signatlas.models.translator.sign_embedding import SignEmbedding

LENGTHS = torch.tensor([13, 4, 9, 1, 7, 2])


def result(rows: slice, *, recompute: bool) -> dict[str, Any]:
    """Return gradients and running statistics of a sign embedding after some rows of a batch."""
    torch.manual_seed(0)
    model = SignEmbedding(SignEmbeddingConfig(width=8, kernel=3), 6).double()
    x, target = torch.randn(6, 13, 6).double(), torch.randn(6, 4, 8).double()
    mask = torch.arange(13)[None] < LENGTHS[:, None]
    inputs = (x[rows], mask[rows])
    tokens, _ = checkpoint(model, *inputs, use_reentrant=False) if recompute else model(*inputs)
    (tokens * target[rows] + tokens**2).sum().backward()
    return {
        "gradients": {name: parameter.grad for name, parameter in model.named_parameters()},
        "statistics": {name: buffer.clone() for name, buffer in model.named_buffers()},
    }


def image_statistics(rank: int) -> dict[str, torch.Tensor]:
    """Return running statistics of an image backbone after a batch in which rank 0 has 6 images and rank 1 one."""
    torch.manual_seed(0)
    sizes = ResNetSizes(embedding=4, hidden=(4, 8), depths=(1, 1))
    config = SignEmbeddingConfig(width=8, backbone=BackboneConfig(kind="resnet", sizes=sizes, size=32, chunk=2))
    model = SignEmbedding(config)
    mask = torch.arange(5)[None] < torch.tensor([[5 - 4 * rank], [1 - rank]])
    calls = []
    model.backbone.model.register_forward_hook(lambda *_: calls.append(1))
    tokens, _ = model(torch.randint(0, 256, (2, 5, 3, 32, 32), dtype=torch.uint8) // (rank + 1), mask)
    tokens.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    return {name: buffer.clone() for name, buffer in model.named_buffers()} | {"calls": torch.tensor(len(calls))}


def main() -> None:
    rank, port, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    # The ranks differ in their numbers of frames and, here, of rows.
    local = slice(0, 2) if rank == 0 else slice(2, 6)
    results = {
        "plain": result(local, recompute=False),
        "recomputed": result(local, recompute=True),
        "images": image_statistics(rank),
    }
    torch.save(results, out)
    torch.distributed.barrier()
    time.sleep(0.2)
    sys.stdout.flush()
    os._exit(0)  # the shutdown of gloo's sockets is not tested


if __name__ == "__main__":
    main()
