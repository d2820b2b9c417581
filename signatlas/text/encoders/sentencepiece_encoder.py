"""A text encoder trained from scratch on USE-m3's SentencePiece pieces; works offline."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from signatlas.errors import ModelError, TextError
from signatlas.layers import Transformer
from signatlas.text import usem3
from signatlas.text.encoders.config import TextConfig
from signatlas.text.tokens import clean, evenly, padded, refuse_empty, truncated_fraction

VOCABULARY = "vocabulary.json"
UNKNOWN = "<unk>"
FIRST = 2  # 0 is padding, 1 an unknown piece
SPACE = "▁"
# Scripts without spaces, where each piece counts as a word: Thai, Lao, kana, ideographs.
UNSPACED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


class PieceEncoder(nn.Module):
    """A bidirectional Transformer over a CLS token and the pieces of the training vocabulary.

    A word with unknown pieces is read in the letter case with the fewest unknown letters, since people search in lower
    case; the remaining unknown pieces are ``<unk>``, see :meth:`unknown_rate`.
    """

    def __init__(self, config: TextConfig, pieces: Sequence[str]):
        super().__init__()
        self.config, self.pieces, self.width = config, tuple(pieces), config.width
        self._ids = {piece: FIRST + i for i, piece in enumerate(self.pieces)}
        self.embed = nn.Embedding(FIRST + len(self.pieces), config.width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.cls = nn.Parameter(torch.randn(config.width) * 0.02)
        self.norm_in = nn.LayerNorm(config.width)
        self.transformer = Transformer(
            config.width, config.depth, config.heads, config.feedforward, config.dropout, config.max_tokens + 1
        )

    @classmethod
    def build(cls, config: TextConfig, texts: Iterable[str]) -> PieceEncoder:
        """Return an encoder with the pieces of ``texts`` as vocabulary. Raises TextError if there are none."""
        vocabulary = {piece for row in usem3.pieces([clean(text) for text in texts]) for piece in row}
        if not vocabulary:
            raise TextError("the training texts have no tokens to build a vocabulary from")
        encoder = cls(config, sorted(vocabulary))
        if config.init == "usem3":
            encoder._init_from_usem3()
        return encoder

    @torch.no_grad()
    def _init_from_usem3(self) -> None:
        """Initialize embeddings with the first principal components of USE-m3's, scaled to the length of random ones.

        Dimensions beyond the number of components start at zero.
        """
        vectors = torch.from_numpy(usem3.embeddings([UNKNOWN, *self.pieces]))
        vectors = vectors - vectors.mean(0)
        _, _, directions = torch.linalg.svd(vectors, full_matrices=False)
        components = vectors @ directions[: self.width].T
        length = components.norm(dim=-1).mean().clamp_min(1e-6)
        self.embed.weight[FIRST - 1 :] = 0
        self.embed.weight[FIRST - 1 :, : components.shape[1]] = components * (0.02 * self.width**0.5 / length)

    @classmethod
    def load(cls, config: TextConfig, folder: Path) -> PieceEncoder:
        """Return an encoder with the vocabulary in ``folder``, without loading weights.

        Raises ModelError if the vocabulary is damaged or of another SentencePiece model.
        """
        path = folder / VOCABULARY
        try:
            assets = json.loads(path.read_text(encoding="utf-8"))
            pieces, sha256 = [str(piece) for piece in assets["pieces"]], assets["sentencepiece"]["sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path} is missing or damaged ({type(error).__name__}): save the model again") from error
        if sha256 != usem3.fingerprint():
            raise ModelError(
                f"{path} was saved with another SentencePiece model than that of the installed {usem3.PACKAGE}: "
                f"install the release that the model was trained with ({assets['sentencepiece'].get('version')})"
            )
        return cls(config, pieces)

    def save_assets(self, folder: Path) -> None:
        """Write the vocabulary and the fingerprint of the SentencePiece model."""
        tokenizer = {"package": usem3.PACKAGE, "version": usem3.version(), "sha256": usem3.fingerprint()}
        document = {"sentencepiece": tokenizer, "pieces": self.pieces}
        text = json.dumps(document, ensure_ascii=False, indent=0)
        (folder / VOCABULARY).write_text(text + "\n", encoding="utf-8")

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ids int64 [B, T] and mask bool [B, T]; texts longer than ``max_tokens`` are subsampled evenly.

        Raises TextError for a text without tokens.
        """
        rows = self._segment(texts)
        refuse_empty(texts, [len(row) for row in rows])
        return padded([[self._id(row[i]) for i in evenly(len(row), self.config.max_tokens)] for row in rows])

    def forward(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return word tokens [B, T, width] and the CLS vectors [B, width]."""
        x = torch.cat([self.cls.expand(len(ids_BT), 1, -1), self.embed(ids_BT)], dim=1)
        mask = torch.cat([mask_BT.new_ones(len(ids_BT), 1), mask_BT], dim=1)
        hidden = self.transformer(self.norm_in(x), mask)
        return hidden[:, 1:], hidden[:, 0]

    def unknown_rate(self, texts: Sequence[str]) -> float:
        """Return the share of pieces that are ``<unk>``, 0 without pieces."""
        ids = [self._id(piece) for row in self._segment(texts) for piece in row]
        return ids.count(FIRST - 1) / max(len(ids), 1)

    def long_rate(self, texts: Sequence[str]) -> float:
        """Return the share of texts with more than ``max_tokens`` pieces, which are subsampled."""
        return truncated_fraction([len(row) for row in self._segment(texts)], self.config.max_tokens)

    def words(self, text: str) -> list[str]:
        """Return readable labels of the tokens: ``-`` precedes a piece inside a word, brackets enclose unknown ones."""
        row = self._subsampled(text)
        return [_label(piece) if self._id(piece) >= FIRST else f"[{_label(piece)}]" for _, piece in row]

    def word_spans(self, text: str) -> list[tuple[str, list[int]]]:
        """Return words with the positions of their tokens; punctuation around a word is a word of its own.

        Words that lost all tokens to subsampling are omitted; others are written in full.
        """
        row, sampled = self._segment([text])[0], [i for i, _ in self._subsampled(text)]
        position = {piece: token for token, piece in enumerate(sampled)}
        spans = []
        for start, end in _words(row):
            positions = [position[i] for i in range(start, end) if i in position]
            if positions:
                spans.append(("".join(row[start:end]).replace(SPACE, ""), positions))
        return spans

    def _segment(self, texts: Sequence[str]) -> list[list[str]]:
        rows = usem3.pieces([clean(text) for text in texts])
        return [self._change_case(row) if self._unknown_letters(row) else row for row in rows]

    def _unknown_letters(self, row: Iterable[str]) -> int:
        """Return the number of letters in unknown pieces."""
        return sum(len(piece.strip(SPACE)) for piece in row if piece not in self._ids)

    def _change_case(self, row: Sequence[str]) -> list[str]:
        """Return the pieces of each word in the case with the fewest unknown letters; pieces never cross a space."""
        pieces: list[str] = []
        for word in "".join(row).split(SPACE)[1:]:
            cases = usem3.pieces([word, word.lower(), word.capitalize(), word.upper()])
            pieces += min(cases, key=self._unknown_letters)  # ties: the first
        return pieces

    def _subsampled(self, text: str) -> list[tuple[int, str]]:
        row = self._segment([text])[0]
        return [(i, row[i]) for i in evenly(len(row), self.config.max_tokens)]

    def _id(self, piece: str) -> int:
        return self._ids.get(piece, FIRST - 1)


def _label(piece: str) -> str:
    if piece.startswith(SPACE):
        return piece[1:] or "_"
    return piece if _is_punctuation(piece) or UNSPACED.match(piece) else "-" + piece


def _is_punctuation(piece: str) -> bool:
    bare = piece.strip(SPACE)
    return bool(bare) and all(unicodedata.category(c)[0] in "PS" for c in bare)


def _words(row: Sequence[str]) -> list[tuple[int, int]]:
    """Return the start and end (exclusive) of each word: split at spaces, with outer punctuation split off."""
    starts = [i for i, piece in enumerate(row) if i == 0 or piece.startswith(SPACE) or UNSPACED.match(piece)]
    words: list[tuple[int, int]] = []
    for start, end in zip(starts, [*starts[1:], len(row)], strict=True):
        first, last = start, end
        while last > first and _is_punctuation(row[last - 1]):
            last -= 1
        while first < last and _is_punctuation(row[first]):
            first += 1
        if not "".join(row[first:last]).strip(SPACE):  # nothing but punctuation
            words.append((start, end))
            continue
        words += [(i, i + 1) for i in range(start, first)]
        words.append((first, last))
        words += [(i, i + 1) for i in range(last, end)]
    return words
