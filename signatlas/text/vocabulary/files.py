"""The vocabulary of an mBART that others trained: tokenizer.json, or SentencePiece's own sentencepiece.bpe.model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from signatlas.errors import ModelError
from signatlas.text.encoders.hub import fetched
from signatlas.text.vocabulary.training import laid_out

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNIGRAMS, TOKENIZER = "sentencepiece.bpe.model", "tokenizer.json"


def read_tokenizer(name: str, codes: Sequence[str]) -> Tokenizer:
    """The tokenizer of an mBART-50, of the Hub or a folder; ``codes`` are its languages, in their order.

    SentencePiece's file is read here, not by transformers: that needs a release of protobuf which MediaPipe, from
    which poses come, does not go with. Raises ModelError when there is none, or it is of something else.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import Unigram

    path = _file(name, TOKENIZER)
    if path is not None:
        try:
            tokenizer = Tokenizer.from_file(os.fspath(path))
        except Exception as error:  # tokenizers raises bare Exceptions
            raise ModelError(f"{name}: {TOKENIZER} is damaged ({' '.join(str(error).split())[:120]})") from error
        if not isinstance(tokenizer.model, Unigram):
            raise ModelError(f"{name} has no SentencePiece unigram vocabulary, as mBART has: name an mBART-50")
        return tokenizer
    path = _file(name, UNIGRAMS)
    if path is None:
        raise ModelError(f"{name} has no vocabulary, {UNIGRAMS} or {TOKENIZER}: name an mBART-50")
    return laid_out(*read_unigrams(path), codes)


def read_unigrams(path: Path) -> tuple[list[tuple[str, float]], bytes]:
    """(piece, log-probability) without marks, and the table by which SentencePiece normalizes. Raises ModelError."""
    import sentencepiece

    content = path.read_bytes()
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=content)
        # model.proto: the third field is the NormalizerSpec, whose second is precompiled_charsmap.
        charsmap = next(_fields(next(_fields(content, 3)), 2), b"")
    except (RuntimeError, StopIteration, IndexError) as error:
        raise ModelError(f"{path} is damaged: it is no SentencePiece model; fetch it again") from error
    normal = [i for i in range(model.get_piece_size()) if not (model.is_control(i) or model.is_unknown(i))]
    return [(model.id_to_piece(i), model.get_score(i)) for i in normal], charsmap


def _file(name: str, file: str) -> Path | None:
    folder = Path(name)
    if folder.is_dir():
        return folder / file if (folder / file).is_file() else None
    from transformers.utils import cached_file

    found = fetched(name, "vocabulary", lambda: cached_file(name, file, _raise_exceptions_for_missing_entries=False))
    return None if found is None else Path(found)


def _fields(content: bytes, wanted: int) -> Iterator[bytes]:
    """The bytes fields of a protobuf message that have this number."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            _, at = _varint(content, at)
        elif kind == 2:
            size, at = _varint(content, at)
            if number == wanted:
                yield content[at : at + size]
            at += size
        else:
            at += 8 if kind == 1 else 4


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (content[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if content[at - 1] < 128:
            return value, at
