"""Train SentencePiece unigrams and lay them out as mBART-50 does: marks, pieces, language codes, mask."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from signatlas.errors import TextError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FIRST = ("<s>", "<pad>", "</s>", "<unk>")  # fairseq's order of marks
MASK = "<mask>"
OWN = 3  # marks that SentencePiece counts itself: <unk>, <s>, </s>


def unigram_tokenizer(texts: Sequence[str], size: int, codes: Sequence[str]) -> tuple[Tokenizer, int]:
    """A tokenizer of at most ``size`` ids and how many of them are pieces; the same for the same texts in any order.

    Every character of the texts is a piece. There is no byte fallback: 256 bytes would be a quarter of a small
    vocabulary that no training text ever uses; characters that training did not see are ``<unk>`` and are reported.
    Raises TextError when there is no text, or no room for the characters.
    """
    kept = sorted(text for text in texts if text)
    if not kept:
        raise TextError("the training texts are empty: nothing to build a vocabulary from")
    marks = len(FIRST) + len(codes) + 1
    characters = {c for text in kept for c in text if c != " "} | {"▁"}
    least = marks + len(characters)
    if size < least:
        raise TextError(
            f"a vocabulary of {size} has no room for the {len(characters)} characters of the texts and {marks} marks: "
            f"set model.vocabulary (model.language.vocabulary of a translator) to {least} or more"
        )
    pieces = _sentencepiece(kept, size - marks + OWN)
    return laid_out(pieces, b"", codes), len(pieces)


def _sentencepiece(texts: Sequence[str], size: int) -> list[tuple[str, float]]:
    """(piece, log-probability) without marks, of texts that are NFKC already."""
    import sentencepiece

    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=written,
            vocab_size=size,
            model_type="unigram",
            hard_vocab_limit=False,  # few texts give fewer pieces
            character_coverage=1.0,
            normalization_rule_name="identity",
            num_threads=1,
            shuffle_input_sentence=False,
            max_sentence_length=max(10, *(len(text.encode()) + 1 for text in texts)),  # longer ones would be left out
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[-160:]
        raise TextError(
            f"no vocabulary of {size} pieces from {len(texts)} texts ({reason}): choose fewer, or give more texts"
        ) from error
    model = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    normal = [i for i in range(model.get_piece_size()) if not (model.is_control(i) or model.is_unknown(i))]
    return [(model.id_to_piece(i), model.get_score(i)) for i in normal]


def laid_out(pieces: Sequence[tuple[str, float]], charsmap: bytes, codes: Sequence[str]) -> Tokenizer:
    """A tokenizer in mBART-50's order. ``charsmap`` is SentencePiece's table of characters; NFKC where it is empty."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import Unigram

    named = [(name, 0.0) for name in FIRST]
    tokenizer = Tokenizer(
        Unigram([*named, *pieces, *((code, 0.0) for code in codes), (MASK, 0.0)], unk_id=3, byte_fallback=False)
    )
    first = normalizers.Precompiled(charsmap) if charsmap else normalizers.NFKC()
    tokenizer.normalizer = normalizers.Sequence([first, normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in (*FIRST, *codes, MASK)])
    return tokenizer
