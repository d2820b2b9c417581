"""Frozen USE-m3 sentence vectors with trainable layers: one token per text, for pooled similarities."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from signatlas.errors import ModelError
from signatlas.text import usem3
from signatlas.text.encoders.config import TextConfig
from signatlas.text.tokens import clean, refuse_empty

ASSETS = "sentence.json"
CACHE_SIZE = 100_000  # texts with cached vectors, 2 kB each


class SentenceEncoder(nn.Module):
    """``depth`` linear layers with GELU on top of the USE-m3 vector of a text.

    Its "ids" are these vectors, float32 [B, 1, 512]: USE-m3 is frozen and runs in numpy. ``max_tokens`` does not apply,
    since USE-m3 reads texts of any length.
    """

    def __init__(self, config: TextConfig):
        super().__init__()
        self.config, self.width = config, config.width
        sizes = [usem3.DIMENSIONS, *[config.feedforward] * (config.depth - 1), config.width]
        layers: list[nn.Module] = []
        for inside, outside in itertools.pairwise(sizes):
            layers += [nn.Linear(inside, outside), nn.GELU(), nn.Dropout(config.dropout)]
        self.layers = nn.Sequential(*layers[:-2])
        self._cache: dict[str, np.ndarray] = {}

    @classmethod
    def build(cls, config: TextConfig, texts: Iterable[str] = ()) -> SentenceEncoder:
        """Return a new encoder; ignores ``texts``."""
        return cls(config)

    @classmethod
    def load(cls, config: TextConfig, folder: Path) -> SentenceEncoder:
        """Return an encoder, without loading weights. Raises ModelError if USE-m3 is not that of training."""
        try:
            assets = json.loads((folder / ASSETS).read_text(encoding="utf-8"))
            same = assets["sha256"] == _fingerprint()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{folder / ASSETS} is missing or damaged: save the model again") from error
        if not same:
            raise ModelError(
                f"{folder / ASSETS} was saved with other weights than those of the installed {usem3.PACKAGE}: "
                f"install the release that the model was trained with ({assets.get('version')})"
            )
        return cls(config)

    def save_assets(self, folder: Path) -> None:
        """Write the version and fingerprint of USE-m3."""
        document = {"package": usem3.PACKAGE, "version": usem3.version(), "sha256": _fingerprint()}
        (folder / ASSETS).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return vectors float32 [B, 1, 512] and an all-True mask. Raises TextError for a text without tokens."""
        cleaned = [clean(text) for text in texts]
        new = sorted(set(cleaned) - self._cache.keys())
        if len(self._cache) + len(new) > CACHE_SIZE:
            self._cache, new = {}, sorted(set(cleaned))
        lengths = dict(zip(new, map(len, usem3.pieces(new)), strict=True))
        refuse_empty(texts, [lengths.get(text, 1) for text in cleaned])
        self._cache.update(zip(new, usem3.sentence_vectors(new), strict=True))
        vectors = np.stack([self._cache[text] for text in cleaned]) if cleaned else np.empty((0, usem3.DIMENSIONS))
        ids = torch.from_numpy(vectors.astype(np.float32))[:, None]
        return ids, torch.ones(len(texts), 1, dtype=torch.bool)

    def forward(self, ids_B1D: Tensor, mask_B1: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vector of each text as its only token [B, 1, width] and as its text vector [B, width]."""
        x = self.layers(ids_B1D[:, 0].to(next(self.parameters()).dtype))
        return x[:, None], x

    def unknown_rate(self, texts: Sequence[str]) -> float:
        """Return the share of pieces that are unknown to USE-m3."""
        rows = usem3.pieces([clean(text) for text in texts])
        known = [usem3.is_known(piece) for row in rows for piece in row]
        return known.count(False) / max(len(known), 1)

    def long_rate(self, texts: Sequence[str]) -> float:
        """Return 0, since USE-m3 reads texts of any length."""
        return 0.0

    def words(self, text: str) -> list[str]:
        """Return the text as the label of its only token."""
        return [clean(text)]

    def word_spans(self, text: str) -> list[tuple[str, list[int]]]:
        """Return the text as one word with its only token."""
        return [(clean(text), [0])]


def _fingerprint() -> str:
    return hashlib.sha256(usem3.resource("weights.npz").read_bytes() + usem3.fingerprint().encode()).hexdigest()
