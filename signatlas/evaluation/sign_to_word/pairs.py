"""Clips and texts of a corpus as a dual encoder sees them: tokens, words, and where in time each token lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from signatlas.corpus.format import Corpus
from signatlas.corpus.texts import text_in
from signatlas.errors import ModelError, TextError
from signatlas.evaluation.sign_to_word.map import SignToWord, clip_frames, sign_to_word
from signatlas.features.store import FeatureStore
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.retrieval.entries import BATCH, check_features, clip_batches
from signatlas.retrieval.tokens import unit


class Pair(NamedTuple):
    """One clip with its text in one language. ``tokens`` [L, E] are its unit clip tokens, ``frames`` [L] their middles.

    ``row`` is the clip's metadata.
    """

    row: dict[str, Any]
    text: str
    map: SignToWord
    tokens: np.ndarray
    frames: np.ndarray


def pairs(
    model: DualEncoder, corpus: Corpus, store: FeatureStore, rows: Sequence[dict[str, Any]], language: str
) -> Iterator[Pair]:
    """The clips of ``rows`` that have a text in ``language``, batch by batch.

    Raises FeatureError, TextError and ModelError for what cannot be mapped.
    """
    check_features(store, corpus, model)
    if model.config.similarity.kind == "cls":
        raise ModelError("this model compares one vector a video and text (cls), so nothing answers to single words")
    texts = [text_in(row, language) for row in rows]
    chosen = [(row, text) for row, text in zip(rows, texts, strict=True) if text]
    if not chosen:
        have = sorted({text["language"] for row in rows for text in row["texts"] or []})
        raise TextError(
            f"{corpus.path}: no chosen clip has a text in '{language}', only in {', '.join(have) or 'none'}"
        )
    encoded = clip_batches(model, store, [row["id"] for row, _ in chosen])
    for start, sign in zip(range(0, len(chosen), BATCH), encoded, strict=True):
        batch = chosen[start : start + BATCH]
        text = model.embed_texts([text for _, text in batch])
        for place, (row, said) in enumerate(batch):
            clips = unit(sign.tokens[place][sign.mask[place]].numpy())
            words = unit(text.tokens[place][text.mask[place]].numpy())
            spans = model.text.word_spans(said)
            yield Pair(
                row, said, sign_to_word(clips, words, spans, model.config.similarity.tau), clips,
                token_frames(model, store, row),
            )  # fmt: skip


def token_frames(model: DualEncoder, store: FeatureStore, row: dict[str, Any]) -> np.ndarray:
    """Middle frames float [L] of the clip tokens that the model makes of a clip."""
    stored = int(store.counts[store.positions([row["id"]])[0]])
    return clip_frames(store.info, row["num_frames"], stored, model.config.sign.max_clips, row["gloss_spans"])


def gloss_at(row: dict[str, Any], frame: float) -> str | None:
    """The true gloss whose span holds a frame, or None."""
    return next((gloss for gloss, first, end in gloss_spans(row) if first <= frame < end), None)


def gloss_spans(row: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Each true gloss with its first frame and the frame after its last; none where a corpus has glosses alone."""
    if not row["glosses"] or not row["gloss_spans"]:
        return []
    return [(str(g), int(first), int(end)) for g, (first, end) in zip(row["glosses"], row["gloss_spans"], strict=True)]
