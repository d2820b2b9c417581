"""Sign-to-word maps: the fine-grained similarity of one video and its text, clip by word (CiCo, 3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from signatlas.corpus.format import Corpus
from signatlas.corpus.texts import text_in
from signatlas.errors import ModelError, TextError
from signatlas.features.store import FeatureInfo, FeatureStore, subsample
from signatlas.features.windows import centers
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.retrieval.entries import BATCH, check_features, clip_batches
from signatlas.retrieval.tokens import unit

WordSpans = Sequence[tuple[str, Sequence[int]]]  # a word and the positions of its tokens


class SignToWordMap(NamedTuple):
    """Maps [L, W] of L clips and W words, and the words.

    ``cosines``: the mean over a word's tokens. ``clip_attention``: each clip's attention to the words, rows sum to at
    most 1. ``word_attention``: each word's attention to the clips, columns sum to 1.
    """

    words: tuple[str, ...]
    cosines: np.ndarray
    clip_attention: np.ndarray
    word_attention: np.ndarray


def sign_to_word_map(clips: np.ndarray, text: np.ndarray, spans: WordSpans, tau: float) -> SignToWordMap:
    """Return the maps of one pair from its unit tokens [L, E] and [T, E].

    Raises ValueError when there is no word.
    """
    if not spans:
        raise ValueError("a text without words has no map")
    S = np.asarray(clips, np.float64) @ np.asarray(text, np.float64).T
    rows, columns = _softmax(S / tau, 1), _softmax(S / tau, 0)
    return SignToWordMap(
        tuple(word for word, _ in spans),
        np.stack([S[:, list(positions)].mean(1) for _, positions in spans], 1),
        np.stack([rows[:, list(positions)].sum(1) for _, positions in spans], 1),
        np.stack([columns[:, list(positions)].mean(1) for _, positions in spans], 1),
    )


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


# --- where in time the clips are


def clip_frames(
    info: FeatureInfo, num_frames: int, stored: int, limit: int, spans: Sequence[Sequence[int]] | None = None
) -> np.ndarray:
    """Return the middle frames float [L] of a video's clips, for ``stored`` features of which the model sees ``limit``.

    ``spans`` are those of the true glosses, which replace windows for the gloss oracle. Where windows are not known,
    features are assumed to be evenly spaced.
    """
    if info.kind == "glosses" and spans is not None and len(spans) == stored:
        middles = np.array([(first + end - 1) / 2 for first, end in spans])
    else:
        middles = centers(num_frames, info.window or 16, info.stride or 1, info.limit)
    if len(middles) != stored:
        middles = (np.arange(stored) + 0.5) * num_frames / stored
    return np.asarray(middles[subsample(stored, limit)])


def token_frames(model: DualEncoder, store: FeatureStore, row: dict[str, Any]) -> np.ndarray:
    """Return the middle frames float [L] of the tokens that the model computes for a video."""
    stored = int(store.counts[store.positions([row["id"]])[0]])
    return clip_frames(store.info, row["num_frames"], stored, model.config.sign.max_windows, row["gloss_spans"])


def gloss_at(row: dict[str, Any], frame: float) -> str | None:
    """Return the true gloss whose span contains a frame, or None."""
    return next((gloss for gloss, first, end in gloss_spans(row) if first <= frame < end), None)


def gloss_spans(row: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Return each true gloss with its first frame and the frame after its last; empty for glosses without spans."""
    if not row["glosses"] or not row["gloss_spans"]:
        return []
    return [(str(g), int(first), int(end)) for g, (first, end) in zip(row["glosses"], row["gloss_spans"], strict=True)]


# --- maps of a corpus


class MappedVideo(NamedTuple):
    """A video (``row`` is its metadata) with its text, their map, its unit tokens [L, E] and middle frames [L]."""

    row: dict[str, Any]
    text: str
    map: SignToWordMap
    tokens: np.ndarray
    frames: np.ndarray


def map_videos(
    model: DualEncoder, corpus: Corpus, store: FeatureStore, rows: Sequence[dict[str, Any]], language: str
) -> Iterator[MappedVideo]:
    """Yield the videos of ``rows`` that have a text in ``language``, with their maps.

    Raises FeatureError for features of another corpus or width, TextError for no text in ``language``, and ModelError
    for a model that compares no tokens.
    """
    check_features(store, corpus, model)
    if model.config.similarity.kind == "cls":
        raise ModelError("this model compares one vector per video and text (cls), so it has no sign-to-word map")
    texts = [text_in(row, language) for row in rows]
    pairs = [(row, text) for row, text in zip(rows, texts, strict=True) if text]
    if not pairs:
        available = sorted({text["language"] for row in rows for text in row["texts"] or []})
        raise TextError(
            f"{corpus.path}: none of the chosen clips has a text in '{language}', only in "
            f"{', '.join(available) or 'none'}"
        )
    encoded = clip_batches(model, store, [row["id"] for row, _ in pairs])
    for start, sign in zip(range(0, len(pairs), BATCH), encoded, strict=True):
        batch = pairs[start : start + BATCH]
        encoded_texts = model.embed_texts([text for _, text in batch])
        for i, (row, text) in enumerate(batch):
            clips = unit(sign.tokens[i][sign.mask[i]].numpy())
            words = unit(encoded_texts.tokens[i][encoded_texts.mask[i]].numpy())
            map = sign_to_word_map(clips, words, model.text.word_spans(text), model.config.similarity.tau)
            yield MappedVideo(row, text, map, clips, token_frames(model, store, row))
