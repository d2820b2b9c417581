"""What encoders of Hugging Face share: loading in one line of error, a tokenizer that gives words without marks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from signatlas.errors import ModelError
from signatlas.text.encoders.config import TextConfig
from signatlas.text.tokens import clean, evenly, padded, refuse_empty, truncated_fraction


def fetched(name: str | Path, what: str, load: Callable[[], Any]) -> Any:
    """What ``load`` gives, its failures as ModelErrors of one line; without reports of weights that are not used."""
    from transformers.utils import logging

    said, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return load()
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(f"no {what} at {name}: {reason}") from error
    finally:
        logging.set_verbosity(said)
        if bars:
            logging.enable_progress_bar()


def load_tokenizer(name: str | Path) -> Any:
    """The tokenizer of a model, by name or folder; code of a repository is never run. Raises ModelError."""
    from transformers import AutoTokenizer

    return fetched(name, "tokenizer", lambda: AutoTokenizer.from_pretrained(str(name), trust_remote_code=False))


class HubEncoder(nn.Module):
    """A text encoder whose ids are words only: marks such as BOS, EOS or CLS are put around them in ``forward``.

    ``model`` gives hidden states [B, N, width] for ids and mask [B, N]; dropout is as the model has it.
    """

    def __init__(self, config: TextConfig, model: nn.Module, tokenizer: Any):
        super().__init__()
        self.config, self.model, self.tokenizer = config, model, tokenizer
        self.width: int = model.config.hidden_size  # type: ignore[union-attr,assignment]
        marked = tokenizer("a", return_special_tokens_mask=True)
        flags = marked["special_tokens_mask"]
        first, last = flags.index(0), len(flags) - flags[::-1].index(0)
        self._before, self._after = marked["input_ids"][:first], marked["input_ids"][last:]

    def save_assets(self, folder: Path) -> None:
        """Write the tokenizer's files and the model's config.json."""
        self.tokenizer.save_pretrained(folder)
        self.model.config.save_pretrained(folder)  # type: ignore[union-attr,operator]

    @property
    def max_words(self) -> int:
        """Number of word tokens that a text may have; longer texts are subsampled evenly."""
        special = len(self._before) + len(self._after) if self.config.special_tokens else 0
        return self.config.max_tokens - special

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ids int64 [B, T] and mask bool [B, T] of at most ``max_words`` words per text, subsampled evenly.

        With ``special_tokens`` the ids include the special tokens around the words. Raises TextError for a text
        without tokens.
        """
        rows = self._cut(texts)
        refuse_empty(texts, [len(row) for row in rows])
        kept = [[row[i] for i in evenly(len(row), self.max_words)] for row in rows]
        if self.config.special_tokens:
            kept = [[*self._before, *row, *self._after] for row in kept]
        return padded(kept)

    def hidden(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States of words [B, T, width], of the first mark before them and of the first one after them [B, width]."""
        ids, mask, at = self._marked(ids_BT, mask_BT)
        states = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        start = len(self._before)
        return (
            states[:, start : start + ids_BT.shape[1]],
            states[:, 0],
            states[torch.arange(len(ids), device=ids.device), at],
        )

    def unknown_rate(self, texts: Sequence[str]) -> float:
        """The share of tokens that are the tokenizer's unknown one; 0 where there is no token."""
        ids = [id for row in self._cut(texts) for id in row]
        return ids.count(self.tokenizer.unk_token_id) / max(len(ids), 1)

    def long_rate(self, texts: Sequence[str]) -> float:
        """The share of texts that have more than ``max_tokens`` tokens and are therefore subsampled."""
        return truncated_fraction([len(row) for row in self._cut(texts)], self.max_words)

    def words(self, text: str) -> list[str]:
        """What each token shows; ``-`` leads a token inside a word."""
        pieces = self._pieces(text)
        shown = [("-" if i and word == pieces[i - 1][1] else "") + piece for i, (piece, word, _) in enumerate(pieces)]
        words = [shown[i] for i in evenly(len(shown), self.max_words)]
        if not self.config.special_tokens:
            return words
        before, after = (self.tokenizer.convert_ids_to_tokens(ids) for ids in (self._before, self._after))
        return [*before, *words, *after]

    def word_spans(self, text: str) -> list[tuple[str, list[int]]]:
        """Whole words, as the tokenizer tells them apart, with the positions of those tokens that are kept."""
        pieces = self._pieces(text)
        cleaned = clean(text)
        first_word = len(self._before) if self.config.special_tokens else 0
        position = {i: number for number, i in enumerate(evenly(len(pieces), self.max_words), start=first_word)}
        spans: dict[int, tuple[int, int, list[int]]] = {}
        for i, (_, word, (start, end)) in enumerate(pieces):
            first, last, at = spans.get(word, (start, end, []))
            spans[word] = (min(first, start), max(last, end), [*at, position[i]] if i in position else at)
        return [(cleaned[first:last].strip(), at) for first, last, at in spans.values() if at]

    def _marked(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Ids and mask with marks, and where in each row the marks after the words begin."""
        B, T = ids_BT.shape
        start, after = len(self._before), torch.tensor(self._after, dtype=torch.int64, device=ids_BT.device)
        pad = self.tokenizer.pad_token_id
        ids = ids_BT.new_full((B, start + T + len(after)), 0 if pad is None else pad)
        ids[:, :start] = torch.tensor(self._before, dtype=torch.int64, device=ids.device)
        ids[:, start : start + T] = torch.where(mask_BT, ids_BT, ids[:, start : start + T])
        ends = start + mask_BT.sum(1)
        places = ends[:, None] + torch.arange(len(after), device=ids.device)
        ids.scatter_(1, places, after.expand(B, -1))
        seen = torch.arange(ids.shape[1], device=ids.device) < (ends + len(after))[:, None]
        return ids, seen, ends.clamp_max(ids.shape[1] - 1)

    def _cut(self, texts: Sequence[str]) -> list[list[int]]:
        cleaned = [clean(text) for text in texts]
        # Not verbose: it would warn of texts longer than the model takes, which are subsampled.
        return self.tokenizer(cleaned, add_special_tokens=False, verbose=False)["input_ids"] if cleaned else []

    def _pieces(self, text: str) -> list[tuple[str, int, tuple[int, int]]]:
        """What is shown, the number of its word and its place in the cleaned text, a token."""
        cleaned = clean(text)
        if not self.tokenizer.is_fast:
            names = self.tokenizer.tokenize(cleaned)
            return [(name, i, (0, 0)) for i, name in enumerate(names)]
        cut = self.tokenizer(cleaned, add_special_tokens=False, return_offsets_mapping=True)
        names = self.tokenizer.convert_ids_to_tokens(cut["input_ids"])
        words = [i if word is None else word for i, word in enumerate(cut.word_ids())]
        return [
            (cleaned[a:b].strip() or name, word, (a, b))
            for name, word, (a, b) in zip(names, words, cut["offset_mapping"], strict=True)
        ]


@torch.no_grad()
def refuse_short(encoder: HubEncoder, name: str | Path) -> None:
    """Raise ModelError where the model does not take ``max_tokens`` words and the marks around them."""
    most = encoder.max_words
    try:
        encoder.hidden(torch.full((1, most), encoder._before[0]), torch.ones(1, most, dtype=torch.bool))
    except (IndexError, ValueError, RuntimeError) as error:
        raise ModelError(f"{name} does not take max_tokens {encoder.config.max_tokens}: choose fewer") from error


def refuse_missing(name: str | Path, info: Any) -> None:
    """Raise ModelError when a checkpoint lacks weights of the encoder; poolers, which are not used, may be missing."""
    missing = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    if missing:
        raise ModelError(f"{name} lacks {len(missing)} weights of this kind of encoder, such as {missing[0]}")
