"""Vocabulary of mBART: special tokens, SentencePiece unigrams and language codes, in mBART-50's order."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from signatlas.errors import ModelError, TextError
from signatlas.text.language import check_language
from signatlas.text.tokens import clean, refuse_empty, truncated_fraction

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCABULARY, TOKENIZER, TOKENIZER_CONFIG = "vocabulary.json", "tokenizer.json", "tokenizer_config.json"
MARKS = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}
# The language codes of mBART-50 (Tang et al. 2020, "Multilingual Translation with Extensible Multilingual ...").
CODES = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP nl_XX "
    "ro_RO ru_RU si_LK tr_TR vi_VN zh_CN af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN "
    "pl_PL ps_AF pt_XX sv_SE sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI"
)
CODE_OF = {code.split("_")[0]: code for code in CODES.split()}


def main_language(tag: str) -> str:
    """Return the primary language of a BCP 47 tag. Raises TextError for an invalid tag.

    >>> main_language("zh-Hans"), main_language("DE")
    ('zh', 'de')
    """
    return check_language(tag).split("-")[0].lower()


def language_code(tag: str) -> str:
    """Return mBART-50's code of a language; for other languages, a code of the same form.

    >>> language_code("de-CH"), language_code("zh"), language_code("da")
    ('de_DE', 'zh_CN', 'da_XX')
    """
    main = main_language(tag)
    return CODE_OF.get(main, f"{main}_XX")


def one_line(text: str) -> str:
    """Normalize a text to NFKC with single spaces, the form in which texts are encoded and decoded."""
    return " ".join(clean(text).split())


class Vocabulary:
    """Pieces and their ids. Rows are mBART-50's: ``[language, pieces..., </s>]``.

    ``pad``, ``bos``, ``eos``, ``unk`` and ``mask`` are ids, ``size`` is the number of ids, ``languages`` the BCP 47
    codes that have an id. ``made`` is the provenance and, of a trimmed vocabulary, the sizes before and after.
    """

    def __init__(self, tokenizer: Tokenizer, languages: dict[str, str], made: dict[str, Any]):
        """``languages`` maps BCP 47 tags to codes. Raises ModelError if the tokenizer lacks a special token or code."""
        self.tokenizer, self.codes, self.made = tokenizer, dict(languages), dict(made)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.size: int = tokenizer.get_vocab_size(with_added_tokens=True)
        self.languages: tuple[str, ...] = tuple(languages)
        self.pad, self.bos, self.eos = self._id("<pad>"), self._id("<s>"), self._id("</s>")
        self.unk, self.mask = self._id("<unk>"), self._id("<mask>")
        self._language_ids = {language: self._id(code) for language, code in languages.items()}
        self._special = {self.pad, self.bos, self.eos, self.unk, self.mask, *self._language_ids.values()}
        # A special token that is written out in a text, such as "</s>", is encoded as <unk>.
        self._reserved = self._special | {i for i in map(tokenizer.token_to_id, CODE_OF.values()) if i is not None}

    def _id(self, token: str) -> int:
        id: int | None = self.tokenizer.token_to_id(token)
        if id is None:
            raise ModelError(f"the vocabulary has no '{token}', so it is not an mBART vocabulary: choose another model")
        return id

    @classmethod
    def train(cls, texts: Iterable[str], size: int, languages: Sequence[str]) -> Vocabulary:
        """Train SentencePiece unigrams on ``texts``, at most ``size`` ids with special tokens; deterministic.

        Raises TextError if there is no text or ``size`` is too small for the characters of the texts.
        """
        from signatlas.text.vocabulary.training import unigram_tokenizer

        codes = {main_language(tag): language_code(tag) for tag in languages}
        tokenizer, pieces = unigram_tokenizer([one_line(text) for text in texts], size, tuple(codes.values()))
        return cls(tokenizer, codes, {"from": "training texts", "asked": size, "pieces": pieces})

    @classmethod
    def pretrained(cls, name: str | os.PathLike[str]) -> Vocabulary:
        """Load the vocabulary of an mBART from the Hub or a folder, also one of signatlas. Raises ModelError."""
        folder = Path(name)
        if (folder / VOCABULARY).is_file():
            return cls.load(folder)
        from tokenizers import Tokenizer

        from signatlas.text.vocabulary.files import read_tokenizer

        path = os.fspath(name)
        document = json.loads(read_tokenizer(path, CODES.split()).to_str())
        document["post_processor"] = None  # encode() adds the language and </s>
        tokenizer = Tokenizer.from_str(json.dumps(document))
        codes = {tag: code for tag, code in CODE_OF.items() if tokenizer.token_to_id(code) is not None}
        if len(codes) < len(CODES.split()):
            raise ModelError(
                f"{name}: its vocabulary has {len(codes)} of the {len(CODES.split())} language codes of mBART-50 "
                "(mBART-25 writes them after the text): choose an mBART-50, such as facebook/mbart-large-50"
            )
        return cls(tokenizer, codes, {"from": folder.name if folder.is_dir() else path})

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Vocabulary:
        """Load what :meth:`save` wrote. Raises ModelError if it is missing or damaged."""
        from tokenizers import Tokenizer

        try:
            document = json.loads((Path(folder) / VOCABULARY).read_text(encoding="utf-8"))
            languages, made = dict(document["languages"]), dict(document["made"])
            tokenizer = Tokenizer.from_file(os.fspath(Path(folder) / TOKENIZER))
        except Exception as error:  # tokenizers raises bare Exceptions
            reason = " ".join(str(error).split())[:120]
            raise ModelError(
                f"{folder}: {VOCABULARY} or {TOKENIZER} is missing or damaged ({reason}): save the model again"
            ) from error
        return cls(tokenizer, languages, made)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer.json, vocabulary.json and the configuration of transformers' AutoTokenizer to a folder."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(os.fspath(path / TOKENIZER), pretty=False)
        document = {"size": self.size, "languages": self.codes, "made": self.made}
        settings = {"tokenizer_class": "PreTrainedTokenizerFast"} | {f"{n}_token": t for n, t in MARKS.items()}
        for name, content in ((VOCABULARY, document), (TOKENIZER_CONFIG, settings)):
            (path / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def language_id(self, language: str) -> int:
        """Return the id of a BCP 47 language. Raises TextError if the vocabulary has none."""
        main = main_language(language)
        if main not in self._language_ids:
            raise TextError(
                f"the language model does not know language '{language}', only {', '.join(self.languages)}: "
                "choose or train another model"
            )
        return self._language_ids[main]

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of the pieces of each text, without special tokens; an empty text has none."""
        cleaned = [one_line(text) for text in texts]
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(cleaned, add_special_tokens=False)]
        return [[self.unk if id in self._reserved else id for id in row] for row in rows]

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the pieces of ids; ``▁`` is a space."""
        return [self.tokenizer.id_to_token(int(id)) or MARKS["unk"] for id in ids]

    def encode(self, texts: Sequence[str], language: str, max_tokens: int | None = None) -> tuple[Tensor, Tensor]:
        """Return ids int64 [B, T] of rows ``[language, pieces..., </s>]``, padded with ``pad``, and mask bool [B, T].

        Rows are truncated to ``max_tokens``. Raises TextError for a text without pieces.
        """
        first, rows = self.language_id(language), self.pieces(texts)
        refuse_empty(texts, [len(row) for row in rows])
        limit = None if max_tokens is None else max(max_tokens - 2, 1)
        return self.rows([[first, *row[:limit], self.eos] for row in rows])

    def rows(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return rows of ids as int64 [B, T], padded with ``pad``, and mask bool [B, T]."""
        longest = max((len(row) for row in rows), default=0)
        ids = torch.full((len(rows), longest), self.pad, dtype=torch.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row, dtype=torch.int64)
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        return ids, torch.arange(longest) < lengths[:, None]

    def decode(self, ids: Tensor | Sequence[Sequence[int]]) -> list[str]:
        """Decode rows of ids up to the first ``</s>`` after the first id; special tokens are dropped."""
        rows = ids.tolist() if isinstance(ids, Tensor) else [list(row) for row in ids]
        pieces = []
        for row in rows:
            end = row.index(self.eos, 1) if self.eos in row[1:] else len(row)
            pieces.append([id for id in row[:end] if id not in self._special and id < self.size])
        return [text.strip() for text in self.tokenizer.decode_batch(pieces, skip_special_tokens=True)]

    def unknown_rate(self, texts: Sequence[str]) -> float:
        """Return the fraction of pieces that are ``<unk>``; 0 without pieces."""
        ids = [id for row in self.pieces(texts) for id in row]
        return ids.count(self.unk) / max(len(ids), 1)

    def long_rate(self, texts: Sequence[str], max_tokens: int) -> float:
        """Return the fraction of texts that :meth:`encode` truncates to ``max_tokens``."""
        return truncated_fraction([len(row) + 2 for row in self.pieces(texts)], max_tokens)
