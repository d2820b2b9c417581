"""What all tokenizers share: cleaning, even subsampling of long texts, padding, and errors about texts."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from signatlas.errors import TextError


def clean(text: str) -> str:
    """NFKC without space at the ends; whatever else a text needs is its tokenizer's business."""
    return unicodedata.normalize("NFKC", text).strip()


def evenly(number: int, most: int) -> list[int]:
    """Which of ``number`` tokens a text keeps: all, or ``most`` of them spread evenly from the first to the last.

    >>> evenly(3, 5), evenly(9, 3)
    ([0, 1, 2], [0, 4, 8])
    """
    if number <= most:
        return list(range(number))
    return [int(i) for i in np.linspace(0, number - 1, most).round()]


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids int64 [B, T], zero where there is none, and mask bool [B, T]. T is the longest of the rows."""
    longest = max((len(row) for row in rows), default=0)
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[i, : len(row)] = True
    return ids, mask


def share_longer(lengths: Sequence[int], most: int) -> float:
    """The share of texts with more than ``most`` tokens; 0 where there is no text."""
    return sum(length > most for length in lengths) / max(len(lengths), 1)


def refuse_empty(texts: Sequence[str], lengths: Sequence[int]) -> None:
    """Raise TextError for the first text that has no token."""
    for number, (text, length) in enumerate(zip(texts, lengths, strict=True)):
        if not length:
            shown = " ".join(text[:40].split())
            what = f"'{shown}' has no token" if shown else "is empty"
            raise TextError(f"text {number + 1} of {len(texts)} {what}: write at least one word, or leave its clip out")
