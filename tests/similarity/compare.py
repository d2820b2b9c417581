"""What the tests of similarity share: ragged batches, and two computations side by side."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from signatlas.similarity.api import Aggregation, Backend, Padding, fine_grained

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def ragged(seed: int, A: int, B: int, L: int, T: int, D: int, *, full: bool = False) -> Batch:
    """Random tokens [A, L, D], [B, T, D], alike in part as true pairs are, and masks of random lengths from 1."""
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
    return [found.detach().double() for found in (*scores, video.grad, text.grad)]


def furthest(found: list[Tensor], expected: list[Tensor]) -> tuple[float, float]:
    """(largest difference of the scores, largest difference of the gradients over their largest entry)."""
    assert all(part.isfinite().all() for part in found)
    apart = [float((f - e).abs().max()) for f, e in zip(found, expected, strict=True)]
    sizes = [float(e.abs().max()) for e in expected]
    # A single token has no one to share with and may have a gradient of nothing at all.
    return max(apart[:2]), max(a / max(size, math.sqrt(1e-12)) for a, size in zip(apart[2:], sizes[2:], strict=True))
