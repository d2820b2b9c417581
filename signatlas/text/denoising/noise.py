"""mBART's denoising noise: text infilling and sentence permutation (Liu et al. 2020, 2.2)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

STREAM = 89  # separates these random numbers from other uses of (seed, epoch, text)


@dataclass(frozen=True)
class Instance:
    """A corrupted ``source`` and its ``target``: ids ``[language, pieces..., </s>, ...]``."""

    source: list[int]
    target: list[int]


@dataclass(frozen=True)
class Noise:
    """Mask a fraction ``ratio`` of the words in spans of Poisson(``mean_span``) words; ``permute`` the sentences."""

    ratio: float = 0.35
    mean_span: float = 3.5
    permute: bool = True


def word_starts(tokens: Sequence[str]) -> list[bool]:
    """Return which pieces begin a word: those after a space, and every piece of a script without spaces.

    >>> word_starts(["▁mor", "gen", "▁du"])
    [True, False, True]
    """
    return [i == 0 or token.startswith("▁") or _unspaced(token[0]) for i, token in enumerate(tokens)]


def span_lengths(words: int, noise: Noise, rng: np.random.Generator) -> list[int]:
    """Draw Poisson span lengths that mask ``noise.ratio`` of ``words`` words; the last span is shortened to fit.

    As in BART, a span of length zero inserts a mask. The number of masked words is rounded at random, so that the
    ratio holds on average for short sentences too.
    """
    remaining = int(noise.ratio * words + rng.random())
    lengths = []
    while remaining > 0:
        lengths.append(min(int(rng.poisson(noise.mean_span)), remaining))
        remaining -= lengths[-1]
    return lengths


def infill(ids: Sequence[int], starts: Sequence[bool], mask: int, noise: Noise, rng: np.random.Generator) -> list[int]:
    """Text infilling (Lewis et al. 2020): replace spans of whole words by one ``mask`` each.

    ``starts`` says which ids begin a word. All arrangements of spans and unmasked words are equally likely.
    """
    begins = [i for i, first in enumerate(starts) if first]
    words = [list(ids[a:b]) for a, b in zip(begins, [*begins[1:], len(ids)], strict=True)]
    spans = span_lengths(len(words), noise, rng)
    # A random order of the spans and of one item for each unmasked word.
    order = rng.permutation(len(spans) + len(words) - sum(spans))
    corrupted: list[int] = []
    position = 0
    for item in order:
        if item < len(spans):
            corrupted.append(mask)
            position += spans[item]
        else:
            corrupted += words[position]
            position += 1
    return corrupted


def corrupt(
    sentences: Sequence[Sequence[int]],
    starts: Sequence[Sequence[bool]],
    *,
    language: int,
    eos: int,
    mask: int,
    noise: Noise,
    rng: np.random.Generator,
) -> Instance:
    """Return one instance from the pieces of sentences; ``language``, ``eos`` and ``mask`` are ids.

    Each sentence ends with ``</s>``, which is never masked. The target keeps the original order.
    """
    order = rng.permutation(len(sentences)) if noise.permute else np.arange(len(sentences))
    source, target = [language], [language]
    for i in order:
        source += [*infill(sentences[i], starts[i], mask, noise, rng), eos]
    for sentence in sentences:
        target += [*sentence, eos]
    return Instance(source, target)


def pack(
    numbers: Sequence[int], lengths: Sequence[int], max_texts: int, max_ids: int, rng: np.random.Generator
) -> list[list[int]]:
    """Group texts ``numbers``, in order, into instances of a random number of texts, 1 to ``max_texts``.

    ``lengths`` are the texts' numbers of pieces. An instance of several texts has at most ``max_ids`` ids.
    """
    instances: list[list[int]] = []
    room, remaining = 0, 0
    for number, length in zip(numbers, lengths, strict=True):
        if remaining <= 0 or room < length + 1:
            instances.append([])
            remaining, room = int(rng.integers(1, max_texts + 1)), max_ids - 1
        instances[-1].append(int(number))
        remaining, room = remaining - 1, room - length - 1
    return instances


def generator(seed: int, epoch: int, text: int) -> np.random.Generator:
    """Return the random generator of a text in an epoch, equal in every process."""
    return np.random.default_rng([seed, epoch, text, STREAM])


def starts_of(rows: Sequence[Sequence[int]], tokens: Callable[[Sequence[int]], list[str]]) -> list[list[bool]]:
    """Return :func:`word_starts` of rows of ids; ``tokens`` is a vocabulary's method."""
    return [word_starts(tokens(row)) for row in rows]


def _unspaced(character: str) -> bool:
    """Return whether a character belongs to a script written without spaces between words."""
    name = unicodedata.name(character, "")
    return name.startswith(("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"))
