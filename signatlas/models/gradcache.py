"""Gradient caching (Gao et al. 2021): encode a large batch in chunks, keep the features and not the activations."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_chunks(
    encode: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], chunk: int | None
) -> tuple[Tensor, ...]:
    """Return ``encode(*inputs)`` of a whole batch, computed ``chunk`` rows at a time and concatenated along the rows.

    Activations of a chunk are discarded and recomputed in the backward pass with all random state restored: values and
    gradients are those of one pass, and memory that of one chunk and all features. Inexact with BatchNorm, whose
    statistics are those of a chunk. Raises ValueError for a chunk below one.
    """
    rows = len(inputs[0])
    if chunk is None or chunk >= rows or not torch.is_grad_enabled():
        return tuple(encode(*inputs))
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    parts = []
    for start in range(0, rows, chunk):
        part = [x[start : start + chunk] for x in inputs]
        parts.append(checkpoint(encode, *part, use_reentrant=False, context_fn=_contexts))
    return tuple(torch.cat(outputs) for outputs in zip(*parts, strict=True))


def _contexts() -> tuple[Any, Any]:
    """Return contexts of the first pass and of its recomputation; torch restores only its own random state."""
    state = (random.getstate(), np.random.get_state())  # noqa: NPY002  an encoder may use the global state
    return contextlib.nullcontext(), _random_state(*state)


@contextlib.contextmanager
def _random_state(python: Any, numpy: Any) -> Iterator[None]:
    before = (random.getstate(), np.random.get_state())  # noqa: NPY002
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
