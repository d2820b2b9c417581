"""Vocabularies of pretrained mBART models: tokenizer.json or sentencepiece.bpe.model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from signatlas.errors import ModelError
from signatlas.text.encoders.hub import load_from_hub
from signatlas.text.vocabulary.training import mbart_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNIGRAMS, TOKENIZER = "sentencepiece.bpe.model", "tokenizer.json"


def read_tokenizer(name: str, codes: Sequence[str]) -> Tokenizer:
    """Read the tokenizer of an mBART-50 from the Hub or a folder; ``codes`` are its languages, in order.

    The SentencePiece file is parsed here because transformers needs a protobuf release that MediaPipe does not
    support. Raises ModelError if there is no vocabulary or it is not an mBART's.
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
            raise ModelError(f"{name} does not have a SentencePiece unigram vocabulary: choose an mBART-50")
        return tokenizer
    path = _file(name, UNIGRAMS)
    if path is None:
        raise ModelError(f"{name} has neither {UNIGRAMS} nor {TOKENIZER}: choose an mBART-50")
    return mbart_tokenizer(*read_unigrams(path), codes)


def read_unigrams(path: Path) -> tuple[list[tuple[str, float]], bytes]:
    """Return (piece, log-probability) without special tokens, and SentencePiece's normalization table.

    Raises ModelError.
    """
    import sentencepiece

    content = path.read_bytes()
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=content)
        # model.proto: the third field is the NormalizerSpec, whose second is precompiled_charsmap.
        charsmap = next(_fields(next(_fields(content, 3)), 2), b"")
    except (RuntimeError, StopIteration, IndexError) as error:
        raise ModelError(f"{path} is not a valid SentencePiece model: download it again") from error
    pieces = [i for i in range(model.get_piece_size()) if not (model.is_control(i) or model.is_unknown(i))]
    return [(model.id_to_piece(i), model.get_score(i)) for i in pieces], charsmap


def _file(name: str, file: str) -> Path | None:
    folder = Path(name)
    if folder.is_dir():
        return folder / file if (folder / file).is_file() else None
    from transformers.utils import cached_file

    path = load_from_hub(
        name, "vocabulary", lambda: cached_file(name, file, _raise_exceptions_for_missing_entries=False)
    )
    return None if path is None else Path(path)


def _fields(content: bytes, field: int) -> Iterator[bytes]:
    """Yield the byte fields of a protobuf message with number ``field``."""
    offset = 0
    while offset < len(content):
        key, offset = _varint(content, offset)
        number, kind = key >> 3, key & 7
        if kind == 0:
            _, offset = _varint(content, offset)
        elif kind == 2:
            size, offset = _varint(content, offset)
            if number == field:
                yield content[offset : offset + size]
            offset += size
        else:
            offset += 8 if kind == 1 else 4


def _varint(content: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (content[offset] & 127) << shift
        shift, offset = shift + 7, offset + 1
        if content[offset - 1] < 128:
            return value, offset
