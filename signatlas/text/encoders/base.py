"""The interface of text encoders, and :func:`build` and :func:`load` that create one from its config."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from signatlas.text.encoders.config import TextConfig

# One class per kind, with `build(config, texts)` for training and `load(config, folder)` for saved assets.
ENCODERS = {
    "pieces": "signatlas.text.encoders.sentencepiece_encoder:PieceEncoder",
    "clip": "signatlas.text.encoders.clip:ClipEncoder",
    "huggingface": "signatlas.text.encoders.huggingface:HuggingFaceEncoder",
    "sentence": "signatlas.text.encoders.sentence_vectors:SentenceEncoder",
}


class TextEncoder(Protocol):
    """An ``nn.Module`` whose forward maps ids int64 [B, T] and mask bool [B, T] to word tokens [B, T, width] and one
    vector per text [B, width], independent of padding. The ids of ``sentence`` are vectors float32 [B, 1, 512]."""

    width: int

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ids int64 [B, T] and mask bool [B, T], True for words. T is the length of the longest text, at most
        ``max_tokens``; longer texts are subsampled evenly. Raises TextError for a text without tokens."""

    def words(self, text: str) -> list[str]:
        """Return readable labels of the tokens of a text, in the order of :meth:`tokenize`."""

    def word_spans(self, text: str) -> list[tuple[str, list[int]]]:
        """Return the words of a text with their token positions, without words that lost all tokens to subsampling."""

    def unknown_rate(self, texts: Sequence[str]) -> float:
        """Return the share of unknown tokens."""

    def long_rate(self, texts: Sequence[str]) -> float:
        """Return the share of texts with more than ``max_tokens`` tokens, which are subsampled."""

    def save_assets(self, folder: Path) -> None:
        """Write the tokenizer and config; the weights are saved with the dual encoder."""

    def __call__(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]: ...


def build(config: TextConfig, texts: Iterable[str]) -> TextEncoder:
    """Return a text encoder for training; the vocabulary comes from ``texts``, those of the training split."""
    encoder: TextEncoder = _encoder_class(config).build(config, texts)
    return encoder


def load(config: TextConfig, folder: Path) -> TextEncoder:
    """Return a text encoder with the config and vocabulary in ``folder``, without loading weights."""
    encoder: TextEncoder = _encoder_class(config).load(config, folder)
    return encoder


def _encoder_class(config: TextConfig):  # type: ignore[no-untyped-def]
    module, name = ENCODERS[config.kind].split(":")
    return getattr(importlib.import_module(module), name)
