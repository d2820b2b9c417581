"""Texts of a greedy translation while it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers.generation.streamers import BaseStreamer

from signatlas.text.vocabulary.vocabulary import Vocabulary


class TextStreamer(BaseStreamer):
    """Passes the text of one clip so far to ``on_text`` after each token, for ``generate`` with one beam.

    What ``on_text`` raises ends the generation and reaches its caller.
    """

    def __init__(self, vocabulary: Vocabulary, on_text: Callable[[str], None]):
        self.vocabulary, self.on_text = vocabulary, on_text
        self._ids: list[int] = []

    def put(self, value: Any) -> None:
        """Take the ids that the decoder starts with, or the next ones; a tensor."""
        self._ids += value.flatten().tolist()
        self.on_text(self.vocabulary.decode([self._ids])[0])

    def end(self) -> None:
        """Take no more ids."""
