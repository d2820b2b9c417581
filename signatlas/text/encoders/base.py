"""What every text encoder offers to a dual encoder; :func:`build` and :func:`load` make one from its settings."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from signatlas.text.encoders.config import TextConfig

# One class a kind: `build(config, texts)` for training, `load(config, folder)` from what `save_assets` wrote.
ENCODERS = {
    "pieces": "signatlas.text.encoders.sentencepiece_encoder:PieceEncoder",
    "clip": "signatlas.text.encoders.clip:ClipEncoder",
    "huggingface": "signatlas.text.encoders.huggingface:HuggingFaceEncoder",
    "sentence": "signatlas.text.encoders.sentence_vectors:SentenceEncoder",
}


class TextEncoder(Protocol):
    """An ``nn.Module`` whose forward maps ids int64 [B, T] and mask bool [B, T] to word tokens [B, T, width] and one
    vector a text [B, width]; padding changes nothing. The ids of ``sentence`` are vectors, float32 [B, 1, 512]."""

    width: int

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids int64 [B, T] and mask bool [B, T], True where a word is. T is the longest of these texts, at most
        ``max_tokens``: longer texts are subsampled evenly. Raises TextError for a text without any token."""

    def words(self, text: str) -> list[str]:
        """What each token of a text shows, in the order of :meth:`tokenize`, for people to read."""

    def word_spans(self, text: str) -> list[tuple[str, list[int]]]:
        """Whole words of a text with the positions of their tokens; words of which no token is kept are left out."""

    def unknown_rate(self, texts: Sequence[str]) -> float:
        """The share of tokens that the encoder cannot tell from other unknown ones."""

    def long_rate(self, texts: Sequence[str]) -> float:
        """The share of texts that have more than ``max_tokens`` tokens and are subsampled."""

    def save_assets(self, folder: Path) -> None:
        """Write tokenizer and sizes; the weights are saved with the dual encoder."""

    def __call__(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]: ...


def build(config: TextConfig, texts: Iterable[str]) -> TextEncoder:
    """A text encoder for training; ``texts``, those of the training split, decide on the vocabulary."""
    encoder: TextEncoder = _class(config).build(config, texts)
    return encoder


def load(config: TextConfig, folder: Path) -> TextEncoder:
    """An encoder of the sizes and the vocabulary in ``folder``, its weights still to be loaded."""
    encoder: TextEncoder = _class(config).load(config, folder)
    return encoder


def _class(config: TextConfig):  # type: ignore[no-untyped-def]
    module, name = ENCODERS[config.kind].split(":")
    return getattr(importlib.import_module(module), name)
