"""Which clip answers to which word of a sentence: the inside of the fine-grained similarity of one pair (CiCo, 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from signatlas.features.store import FeatureInfo, subsample
from signatlas.features.windows import centers

Spans = Sequence[tuple[str, Sequence[int]]]


class SignToWord(NamedTuple):
    """Maps [L, W] of L clips and W words, and the words.

    ``cosines``: the mean over a word's tokens. ``of_clips``: for each clip the share of its attention that a word gets,
    rows sum to at most 1. ``of_words``: for each word how its attention spreads over the clips, columns sum to 1.
    """

    words: tuple[str, ...]
    cosines: np.ndarray
    of_clips: np.ndarray
    of_words: np.ndarray


def sign_to_word(sign: np.ndarray, text: np.ndarray, spans: Spans, tau: float) -> SignToWord:
    """Maps of one pair from its unit tokens [L, E] and [T, E]; ``spans`` are words with the places of their tokens.

    Raises ValueError when there is no word.
    """
    if not spans:
        raise ValueError("a text without words has no map")
    S = np.asarray(sign, np.float64) @ np.asarray(text, np.float64).T
    rows, columns = _softmax(S / tau, 1), _softmax(S / tau, 0)
    return SignToWord(
        tuple(word for word, _ in spans),
        np.stack([S[:, list(at)].mean(1) for _, at in spans], 1),
        np.stack([rows[:, list(at)].sum(1) for _, at in spans], 1),
        np.stack([columns[:, list(at)].mean(1) for _, at in spans], 1),
    )


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


def clip_frames(
    info: FeatureInfo, num_frames: int, stored: int, limit: int, spans: Sequence[Sequence[int]] | None = None
) -> np.ndarray:
    """Middle frames float [L] of the clips that a model sees of a video, of which ``stored`` features are kept.

    ``limit`` is the most that the model takes; ``spans`` are those of the true glosses, which the gloss oracle has in
    place of windows. Features whose windows are not known are taken as spread evenly.
    """
    if info.kind == "glosses" and spans is not None and len(spans) == stored:
        found = np.array([(first + end - 1) / 2 for first, end in spans])
    else:
        found = centers(num_frames, info.window or 16, info.stride or 1, info.limit)
    if len(found) != stored:
        found = (np.arange(stored) + 0.5) * num_frames / stored
    return np.asarray(found[subsample(stored, limit)])
