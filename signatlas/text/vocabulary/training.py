"""Train SentencePiece unigrams in mBART-50's layout: special tokens, pieces, language codes, mask."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from signatlas.errors import TextError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FIRST = ("<s>", "<pad>", "</s>", "<unk>")  # fairseq's order
MASK = "<mask>"
SENTENCEPIECE_SPECIALS = 3  # <unk>, <s>, </s>


def unigram_tokenizer(texts: Sequence[str], size: int, codes: Sequence[str]) -> tuple[Tokenizer, int]:
    """Return a tokenizer of at most ``size`` ids and its number of pieces; independent of the order of the texts.

    Every character of the texts is a piece. There is no byte fallback: 256 bytes would take a quarter of a small
    vocabulary and never be trained. Unseen characters become ``<unk>`` and are reported. Raises TextError if there is
    no text, or if ``size`` is too small for the characters.
    """
    nonempty = sorted(text for text in texts if text)
    if not nonempty:
        raise TextError("the training texts are empty: nothing to build a vocabulary from")
    specials = len(FIRST) + len(codes) + 1
    characters = {c for text in nonempty for c in text if c != " "} | {"▁"}
    min_size = specials + len(characters)
    if size < min_size:
        raise TextError(
            f"a vocabulary of {size} is too small for {len(characters)} characters and {specials} special tokens: "
            f"set model.vocabulary (model.language.vocabulary of a translator) to {min_size} or more"
        )
    pieces = _sentencepiece(nonempty, size - specials + SENTENCEPIECE_SPECIALS)
    return mbart_tokenizer(pieces, b"", codes), len(pieces)


def _sentencepiece(texts: Sequence[str], size: int) -> list[tuple[str, float]]:
    """Return (piece, log-probability) without special tokens, trained on NFKC-normalized texts."""
    import sentencepiece

    buffer = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=buffer,
            vocab_size=size,
            model_type="unigram",
            hard_vocab_limit=False,  # few texts give fewer pieces
            character_coverage=1.0,
            normalization_rule_name="identity",
            num_threads=1,
            shuffle_input_sentence=False,
            max_sentence_length=max(10, *(len(text.encode()) + 1 for text in texts)),  # longer texts would be dropped
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[-160:]
        raise TextError(
            f"cannot train a vocabulary of {size} pieces on {len(texts)} texts ({reason}): choose fewer pieces"
        ) from error
    model = sentencepiece.SentencePieceProcessor(model_proto=buffer.getvalue())
    pieces = [i for i in range(model.get_piece_size()) if not (model.is_control(i) or model.is_unknown(i))]
    return [(model.id_to_piece(i), model.get_score(i)) for i in pieces]


def mbart_tokenizer(pieces: Sequence[tuple[str, float]], charsmap: bytes, codes: Sequence[str]) -> Tokenizer:
    """Return a tokenizer in mBART-50's order. ``charsmap`` is SentencePiece's normalization table; empty means NFKC."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import Unigram

    specials = [(name, 0.0) for name in FIRST]
    tokenizer = Tokenizer(
        Unigram([*specials, *pieces, *((code, 0.0) for code in codes), (MASK, 0.0)], unk_id=3, byte_fallback=False)
    )
    first = normalizers.Precompiled(charsmap) if charsmap else normalizers.NFKC()
    tokenizer.normalizer = normalizers.Sequence([first, normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in (*FIRST, *codes, MASK)])
    return tokenizer
