"""Helpers of tokenizers: cleaning, even subsampling of long texts, padding, errors for empty texts."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from signatlas.errors import TextError


def clean(text: str) -> str:
    """Normalize a text to NFKC and strip white space."""
    return unicodedata.normalize("NFKC", text).strip()


def evenly(number: int, limit: int) -> list[int]:
    """Return the indices of at most ``limit`` of ``number`` tokens, evenly spaced from the first to the last.

    >>> evenly(3, 5), evenly(9, 3)
    ([0, 1, 2], [0, 4, 8])
    """
    if number <= limit:
        return list(range(number))
    return [int(i) for i in np.linspace(0, number - 1, limit).round()]


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return ids int64 [B, T], padded with zeros to the longest row, and mask bool [B, T]."""
    longest = max((len(row) for row in rows), default=0)
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[i, : len(row)] = True
    return ids, mask


def truncated_fraction(lengths: Sequence[int], limit: int) -> float:
    """Return the fraction of texts with more than ``limit`` tokens; 0 without texts."""
    return sum(length > limit for length in lengths) / max(len(lengths), 1)


def refuse_empty(texts: Sequence[str], lengths: Sequence[int]) -> None:
    """Raise TextError for the first text without tokens."""
    for number, (text, length) in enumerate(zip(texts, lengths, strict=True)):
        if not length:
            excerpt = " ".join(text[:40].split())
            problem = f"'{excerpt}' has no token" if excerpt else "is empty"
            raise TextError(f"text {number + 1} of {len(texts)} {problem}: write at least one word, or drop its clip")
