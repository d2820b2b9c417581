"""Texts corrupted as mBART learns to restore them: spans masked, sentences in another order (Liu et al. 2020, 2.2)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

STREAM = 89  # of random numbers, so that no other use of (seed, epoch, text) draws the same


@dataclass(frozen=True)
class Instance:
    """What is read, ``source``, and what is to be written, ``target``: rows ``[language, pieces..., </s>, ...]``."""

    source: list[int]
    target: list[int]


@dataclass(frozen=True)
class Noise:
    """``share`` of the words masked in spans of Poisson(``mean``) words; ``permute``: sentences change places."""

    share: float = 0.35
    mean: float = 3.5
    permute: bool = True


def word_starts(tokens: Sequence[str]) -> list[bool]:
    """Which pieces begin a word: those after a space, and every piece of a script that is written without spaces.

    >>> word_starts(["▁mor", "gen", "▁du"])
    [True, False, True]
    """
    return [i == 0 or token.startswith("▁") or _unspaced(token[0]) for i, token in enumerate(tokens)]


def span_lengths(words: int, noise: Noise, rng: np.random.Generator) -> list[int]:
    """Lengths of spans that mask ``noise.share`` of so many words: Poisson, the last one cut to fit.

    BART draws until enough is masked; a span of no word becomes a mask that stands for nothing. The number to mask is
    rounded up or down by chance, so that the share also holds over sentences of a few words.
    """
    left = int(noise.share * words + rng.random())
    lengths = []
    while left > 0:
        lengths.append(min(int(rng.poisson(noise.mean)), left))
        left -= lengths[-1]
    return lengths


def infill(ids: Sequence[int], starts: Sequence[bool], mask: int, noise: Noise, rng: np.random.Generator) -> list[int]:
    """Text infilling (Lewis et al. 2020): whole words are masked in spans, each span becomes one ``mask``.

    ``starts`` tells which ids begin a word. All ways to lay the spans among the words that stay are equally likely.
    """
    begins = [i for i, first in enumerate(starts) if first]
    words = [list(ids[a:b]) for a, b in zip(begins, [*begins[1:], len(ids)], strict=True)]
    spans = span_lengths(len(words), noise, rng)
    # In random order: the spans, and a 1-word step that keeps its word for each word that stays.
    laid = rng.permutation(len(spans) + len(words) - sum(spans))
    corrupted: list[int] = []
    at = 0
    for item in laid:
        if item < len(spans):
            corrupted.append(mask)
            at += spans[item]
        else:
            corrupted += words[at]
            at += 1
    return corrupted


def spoil(
    sentences: Sequence[Sequence[int]],
    starts: Sequence[Sequence[bool]],
    *,
    language: int,
    eos: int,
    mask: int,
    noise: Noise,
    rng: np.random.Generator,
) -> Instance:
    """One instance of pieces of sentences; ``language``, ``eos`` and ``mask`` are ids.

    Each sentence ends in ``</s>``, which is never masked. The target is in the true order.
    """
    order = rng.permutation(len(sentences)) if noise.permute else np.arange(len(sentences))
    source, target = [language], [language]
    for i in order:
        source += [*infill(sentences[i], starts[i], mask, noise, rng), eos]
    for sentence in sentences:
        target += [*sentence, eos]
    return Instance(source, target)


def packed(
    numbers: Sequence[int], lengths: Sequence[int], most: int, longest: int, rng: np.random.Generator
) -> list[list[int]]:
    """Texts ``numbers``, in their order, as instances of 1 to ``most`` texts: how many is drawn for each.

    ``lengths`` are those of the texts in pieces; no instance of several texts has more than ``longest`` ids.
    """
    instances: list[list[int]] = []
    room, left = 0, 0
    for number, length in zip(numbers, lengths, strict=True):
        if left <= 0 or room < length + 1:
            instances.append([])
            left, room = int(rng.integers(1, most + 1)), longest - 1
        instances[-1].append(int(number))
        left, room = left - 1, room - length - 1
    return instances


def generator(seed: int, epoch: int, text: int) -> np.random.Generator:
    """The random numbers of one text in one epoch, whichever process draws them."""
    return np.random.default_rng([seed, epoch, text, STREAM])


def starts_of(rows: Sequence[Sequence[int]], tokens: Callable[[Sequence[int]], list[str]]) -> list[list[bool]]:
    """:func:`word_starts` of rows of ids; ``tokens`` is that of a vocabulary."""
    return [word_starts(tokens(row)) for row in rows]


def _unspaced(character: str) -> bool:
    """Ideographs, kana, Thai and the like: letters without case whose words are not set apart."""
    name = unicodedata.name(character, "")
    return name.startswith(("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"))
