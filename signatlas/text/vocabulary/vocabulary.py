"""The pieces that mBART reads and writes: SentencePiece unigrams, marks and language codes, in mBART-50's order."""

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
from signatlas.text.tokens import clean, refuse_empty, share_longer

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
    """The language of a BCP 47 tag without script and region. Raises TextError for what is none.

    >>> main_language("zh-Hans"), main_language("DE")
    ('zh', 'de')
    """
    return check_language(tag).split("-")[0].lower()


def language_code(tag: str) -> str:
    """mBART's code of a language; for one that mBART-50 does not know, one of the same form.

    >>> language_code("de-CH"), language_code("zh"), language_code("da")
    ('de_DE', 'zh_CN', 'da_XX')
    """
    main = main_language(tag)
    return CODE_OF.get(main, f"{main}_XX")


def one_line(text: str) -> str:
    """NFKC with single spaces: what a vocabulary reads of a text, and what it gives back."""
    return " ".join(clean(text).split())


class Vocabulary:
    """Pieces and their ids. Rows are mBART-50's: ``[language, pieces..., </s>]``.

    ``pad``, ``bos``, ``eos``, ``unk`` and ``mask`` are ids, ``size`` is how many ids there are, ``languages`` the
    BCP 47 codes that have an id. ``made`` says where it comes from and, once trimmed, how many pieces there were.
    """

    def __init__(self, tokenizer: Tokenizer, languages: dict[str, str], made: dict[str, Any]):
        """``languages``: BCP 47 -> code. Raises ModelError for a tokenizer that lacks a mark or a code."""
        self.tokenizer, self.codes, self.made = tokenizer, dict(languages), dict(made)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.size: int = tokenizer.get_vocab_size(with_added_tokens=True)
        self.languages: tuple[str, ...] = tuple(languages)
        self.pad, self.bos, self.eos = self._id("<pad>"), self._id("<s>"), self._id("</s>")
        self.unk, self.mask = self._id("<unk>"), self._id("<mask>")
        self._language_ids = {language: self._id(code) for language, code in languages.items()}
        self._special = {self.pad, self.bos, self.eos, self.unk, self.mask, *self._language_ids.values()}
        # In a text the name of a mark is no mark: nobody ends a row by writing "</s>".
        self._marks = self._special | {i for i in map(tokenizer.token_to_id, CODE_OF.values()) if i is not None}

    def _id(self, token: str) -> int:
        found: int | None = self.tokenizer.token_to_id(token)
        if found is None:
            raise ModelError(f"the vocabulary has no '{token}': it is not one of mBART; take another model")
        return found

    @classmethod
    def train(cls, texts: Iterable[str], size: int, languages: Sequence[str]) -> Vocabulary:
        """SentencePiece unigrams of ``texts``, at most ``size`` ids with marks and languages; always the same ones.

        Raises TextError when there is no text or ``size`` has no room for the characters of the texts.
        """
        from signatlas.text.vocabulary.training import unigram_tokenizer

        codes = {main_language(tag): language_code(tag) for tag in languages}
        tokenizer, pieces = unigram_tokenizer([one_line(text) for text in texts], size, tuple(codes.values()))
        return cls(tokenizer, codes, {"from": "training texts", "asked": size, "pieces": pieces})

    @classmethod
    def pretrained(cls, name: str | os.PathLike[str]) -> Vocabulary:
        """That of an mBART, of the Hub or a folder, also of one that signatlas wrote. Raises ModelError."""
        folder = Path(name)
        if (folder / VOCABULARY).is_file():
            return cls.load(folder)
        from tokenizers import Tokenizer

        from signatlas.text.vocabulary.files import read_tokenizer

        where = os.fspath(name)
        parts = json.loads(read_tokenizer(where, CODES.split()).to_str())
        parts["post_processor"] = None  # language and </s> are put around by encode()
        tokenizer = Tokenizer.from_str(json.dumps(parts))
        codes = {tag: code for tag, code in CODE_OF.items() if tokenizer.token_to_id(code) is not None}
        if len(codes) < len(CODES.split()):
            raise ModelError(
                f"{name}: its vocabulary has {len(codes)} of the {len(CODES.split())} language codes of mBART-50 "
                "(mBART-25 writes them after the text): name an mBART-50, such as facebook/mbart-large-50"
            )
        return cls(tokenizer, codes, {"from": folder.name if folder.is_dir() else where})

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Vocabulary:
        """What :meth:`save` wrote. Raises ModelError when it is missing or damaged."""
        from tokenizers import Tokenizer

        try:
            said = json.loads((Path(folder) / VOCABULARY).read_text(encoding="utf-8"))
            languages, made = dict(said["languages"]), dict(said["made"])
            tokenizer = Tokenizer.from_file(os.fspath(Path(folder) / TOKENIZER))
        except Exception as error:  # tokenizers raises bare Exceptions
            reason = " ".join(str(error).split())[:120]
            raise ModelError(
                f"{folder}: {VOCABULARY} or {TOKENIZER} is missing or damaged ({reason}); save it anew"
            ) from error
        return cls(tokenizer, languages, made)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer.json, vocabulary.json and what transformers' AutoTokenizer needs into a folder."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(os.fspath(path / TOKENIZER), pretty=False)
        said = {"size": self.size, "languages": self.codes, "made": self.made}
        settings = {"tokenizer_class": "PreTrainedTokenizerFast"} | {f"{n}_token": t for n, t in MARKS.items()}
        for name, content in ((VOCABULARY, said), (TOKENIZER_CONFIG, settings)):
            (path / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def language_id(self, language: str) -> int:
        """The id that opens a text in a BCP 47 language. Raises TextError when the vocabulary has none."""
        main = main_language(language)
        if main not in self._language_ids:
            raise TextError(
                f"the language model has no language '{language}', only {', '.join(self.languages)}: "
                "train or name one that has"
            )
        return self._language_ids[main]

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of the pieces of each text, without marks; nothing for an empty one."""
        cleaned = [one_line(text) for text in texts]
        rows = [cut.ids for cut in self.tokenizer.encode_batch(cleaned, add_special_tokens=False)]
        return [[self.unk if id in self._marks else id for id in row] for row in rows]

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """What ids stand for, as the vocabulary writes it: a space is ``▁``."""
        return [self.tokenizer.id_to_token(int(id)) or MARKS["unk"] for id in ids]

    def encode(self, texts: Sequence[str], language: str, max_tokens: int | None = None) -> tuple[Tensor, Tensor]:
        """Ids int64 [B, T] of rows ``[language, pieces..., </s>]``, padded with ``pad``, and mask bool [B, T].

        A row longer than ``max_tokens`` loses its last pieces. Raises TextError for a text without a piece.
        """
        first, rows = self.language_id(language), self.pieces(texts)
        refuse_empty(texts, [len(row) for row in rows])
        most = None if max_tokens is None else max(max_tokens - 2, 1)
        return self.rows([[first, *row[:most], self.eos] for row in rows])

    def rows(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Rows of ids as int64 [B, T], padded with ``pad``, and mask bool [B, T]."""
        longest = max((len(row) for row in rows), default=0)
        ids = torch.full((len(rows), longest), self.pad, dtype=torch.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row, dtype=torch.int64)
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        return ids, torch.arange(longest) < lengths[:, None]

    def decode(self, ids: Tensor | Sequence[Sequence[int]]) -> list[str]:
        """Texts of rows of ids, up to the first ``</s>`` after the first id, which may be one; marks are left out."""
        rows = ids.tolist() if isinstance(ids, Tensor) else [list(row) for row in ids]
        kept = []
        for row in rows:
            end = row.index(self.eos, 1) if self.eos in row[1:] else len(row)
            kept.append([id for id in row[:end] if id not in self._special and id < self.size])
        return [text.strip() for text in self.tokenizer.decode_batch(kept, skip_special_tokens=True)]

    def unknown_rate(self, texts: Sequence[str]) -> float:
        """The share of pieces that are ``<unk>``, so that they can be neither read nor written; 0 without pieces."""
        ids = [id for row in self.pieces(texts) for id in row]
        return ids.count(self.unk) / max(len(ids), 1)

    def long_rate(self, texts: Sequence[str], max_tokens: int) -> float:
        """The share of texts whose rows, with language and ``</s>``, are longer than ``max_tokens``: they are cut."""
        return share_longer([len(row) + 2 for row in self.pieces(texts)], max_tokens)
