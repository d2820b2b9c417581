"""Which texts say the same: numbers of groups, by which a loss takes false negatives out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from signatlas.corpus.texts import near_pairs, tokens

# Thai, Lao, kana, ideographs: written without spaces, so that a character is a token.
_UNSPACED = re.compile("([\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")


def fold(text: str) -> tuple[str, ...]:
    """The tokens of a text without case, punctuation and white space, in their order.

    A text of nothing but punctuation is one token, itself.

    >>> fold("Milk, please!"), fold("我喝 tea。")
    (('milk', 'please'), ('我', '喝', 'tea'))
    """
    found = tokens(_UNSPACED.sub(r" \1 ", unicodedata.normalize("NFKC", text)))
    return found or (text.strip(),)


def groups(texts: Sequence[str], near: float = 1.0) -> np.ndarray:
    """Group numbers int64 [N], equal for texts that are the same; numbered in the order of their first texts.

    With ``near`` 1 those are equal after folding (:func:`fold`). With less also those whose token sets have a Jaccard
    index (shared tokens by all tokens) of at least ``near``, and whatever a chain of such pairs connects.
    """
    if not 0 < near <= 1:
        raise ValueError(f"near is a share, above 0 and at most 1, not {near}")
    numbers: dict[tuple[str, ...], int] = {}
    kind = np.array([numbers.setdefault(fold(text), len(numbers)) for text in texts], dtype=np.int64)
    if near == 1:
        return kind
    parent = list(range(len(numbers)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for i, j in near_pairs(list(numbers), Fraction(near).limit_denominator(10_000)):
        first, second = sorted((root(i), root(j)))
        parent[second] = first
    roots = [root(i) for i in range(len(parent))]
    dense = {r: place for place, r in enumerate(sorted(set(roots)))}
    return np.array([dense[r] for r in roots], dtype=np.int64)[kind] if roots else kind
