"""Gradient caching: encode a large batch in chunks and keep the features, not the activations (GradCache, 2021)."""

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
    """``encode(*inputs)`` of a whole batch, ``chunk`` rows at a time; each output is joined along its rows.

    Activations of a chunk are thrown away and computed again in the backward pass with all random state restored, so
    that values and gradients are those of one pass, and memory that of one chunk and all features. Inexact with
    BatchNorm, whose statistics are those of a chunk. Raises ValueError for a chunk below one.
    """
    rows = len(inputs[0])
    if chunk is None or chunk >= rows or not torch.is_grad_enabled():
        return tuple(encode(*inputs))
    if chunk < 1:
        raise ValueError(f"a chunk has at least one row, got {chunk}")
    parts = []
    for start in range(0, rows, chunk):
        piece = [x[start : start + chunk] for x in inputs]
        parts.append(checkpoint(encode, *piece, use_reentrant=False, context_fn=_replayed))
    return tuple(torch.cat(outputs) for outputs in zip(*parts, strict=True))


def _replayed() -> tuple[Any, Any]:
    """Contexts of the first pass and of its replay: torch restores its own random state, these do the others."""
    state = (random.getstate(), np.random.get_state())  # noqa: NPY002  the global state is what an encoder may use
    return contextlib.nullcontext(), _restored(*state)


@contextlib.contextmanager
def _restored(python: Any, numpy: Any) -> Iterator[None]:
    before = (random.getstate(), np.random.get_state())  # noqa: NPY002
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
