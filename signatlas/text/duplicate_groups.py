"""Groups of duplicate and near-duplicate texts, by which losses exclude false negatives."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from signatlas.corpus.texts import near_pairs, tokens

# Thai, Lao, kana and ideographs are written without spaces: each character is a token.
_UNSPACED = re.compile("([\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")


def fold(text: str) -> tuple[str, ...]:
    """Return the tokens of a text in order, without case, punctuation and white space.

    A text of only punctuation is one token, itself.

    >>> fold("Milk, please!"), fold("我喝 tea。")
    (('milk', 'please'), ('我', '喝', 'tea'))
    """
    folded = tokens(_UNSPACED.sub(r" \1 ", unicodedata.normalize("NFKC", text)))
    return folded or (text.strip(),)


def groups(texts: Sequence[str], near: float = 1.0) -> np.ndarray:
    """Return group numbers int64 [N], equal for duplicate texts, numbered by first occurrence.

    With ``near`` 1 duplicates are texts that are equal after :func:`fold`. With less, also texts whose token sets have
    a Jaccard index of at least ``near``, and all texts connected by such pairs. Raises ValueError for a bad ``near``.
    """
    if not 0 < near <= 1:
        raise ValueError(f"near must be above 0 and at most 1, got {near}")
    numbers: dict[tuple[str, ...], int] = {}
    folded_numbers = np.array([numbers.setdefault(fold(text), len(numbers)) for text in texts], dtype=np.int64)
    if near == 1:
        return folded_numbers
    parent = list(range(len(numbers)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for i, j in near_pairs(list(numbers), Fraction(near).limit_denominator(10_000)):
        first, second = sorted((root(i), root(j)))
        parent[second] = first
    roots = [root(i) for i in range(len(parent))]
    dense = {r: number for number, r in enumerate(sorted(set(roots)))}
    return np.array([dense[r] for r in roots], dtype=np.int64)[folded_numbers] if roots else folded_numbers
