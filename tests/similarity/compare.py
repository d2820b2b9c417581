"""Ragged batches, scores with gradients, and the differences between two backends."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from signatlas.similarity.api import Aggregation, Backend, Padding, fine_grained

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def ragged(seed: int, A: int, B: int, L: int, T: int, D: int, *, full: bool = False) -> Batch:
    """Random tokens [A, L, D], [B, T, D], partly similar like true pairs, and masks of random lengths from 1."""
    rng = torch.Generator().manual_seed(seed)
    video, text = torch.randn(A, L, D, generator=rng), torch.randn(B, T, D, generator=rng)
    pairs, tokens = min(A, B), min(L, T)
    text[:pairs, :tokens] += 2 * video[:pairs, :tokens]
    masks = []
    for rows, length in ((A, L), (B, T)):
        lengths = torch.randint(length if full else 1, length + 1, (rows, 1), generator=rng)
        masks.append(torch.arange(length) < lengths)
    return video, text, masks[0], masks[1]


def run(
    batch: Batch,
    backend: Backend,
    dtype: torch.dtype = torch.float32,
    *,
    tau: float = 0.07,
    aggregation: Aggregation = "mean",
    padding: Padding = "masked",
) -> list[Tensor]:
    """Both scores and the gradients of videos and texts under a fixed random weighting of all scores, in fp64."""
    video, text = (tokens.to(dtype, copy=True).requires_grad_() for tokens in batch[:2])
    scores = fine_grained(video, text, *batch[2:], tau=tau, aggregation=aggregation, padding=padding, backend=backend)
    rng = torch.Generator().manual_seed(99)
    weights = [torch.randn(score.shape, generator=rng) for score in scores]
    torch.stack([(s * w.to(s)).sum() for s, w in zip(scores, weights, strict=True)]).sum().backward()
    assert video.grad is not None and text.grad is not None
    return [result.detach().double() for result in (*scores, video.grad, text.grad)]


def largest_differences(results: list[Tensor], expected: list[Tensor]) -> tuple[float, float]:
    """(largest difference of the scores, largest difference of the gradients over their largest entry)."""
    assert all(part.isfinite().all() for part in results)
    differences = [float((r - e).abs().max()) for r, e in zip(results, expected, strict=True)]
    sizes = [float(e.abs().max()) for e in expected]
    # The softmax over a single token is constant: its gradient may be zero.
    relative = [d / max(size, math.sqrt(1e-12)) for d, size in zip(differences[2:], sizes[2:], strict=True)]
    return max(differences[:2]), max(relative)
