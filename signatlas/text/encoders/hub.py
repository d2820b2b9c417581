"""Shared code of Hugging Face encoders: loading, tokenization and checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from signatlas.errors import ModelError
from signatlas.text.encoders.config import TextConfig
from signatlas.text.tokens import clean, evenly, padded, refuse_empty, truncated_fraction


def load_from_hub(name: str | Path, description: str, load: Callable[[], Any]) -> Any:
    """Return ``load()`` and raise its errors as one-line ModelErrors; hides progress bars and warnings."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return load()
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(f"no {description} at {name}: {reason}") from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def load_tokenizer(name: str | Path) -> Any:
    """Return the tokenizer of a Hub name or folder; never runs code from a repository. Raises ModelError."""
    from transformers import AutoTokenizer

    return load_from_hub(name, "tokenizer", lambda: AutoTokenizer.from_pretrained(str(name), trust_remote_code=False))


class HubEncoder(nn.Module):
    """A text encoder whose ids are words only; ``forward`` adds special tokens such as BOS, EOS or CLS.

    ``model`` maps ids and mask [B, N] to hidden states [B, N, width], with its own dropout.
    """

    def __init__(self, config: TextConfig, model: nn.Module, tokenizer: Any):
        super().__init__()
        self.config, self.model, self.tokenizer = config, model, tokenizer
        self.width: int = model.config.hidden_size  # type: ignore[union-attr,assignment]
        encoded = tokenizer("a", return_special_tokens_mask=True)
        flags = encoded["special_tokens_mask"]
        first, last = flags.index(0), len(flags) - flags[::-1].index(0)
        self._before, self._after = encoded["input_ids"][:first], encoded["input_ids"][last:]

    def save_assets(self, folder: Path) -> None:
        """Write the tokenizer and the config.json of the model."""
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
        rows = self._word_ids(texts)
        refuse_empty(texts, [len(row) for row in rows])
        sampled = [[row[i] for i in evenly(len(row), self.max_words)] for row in rows]
        if self.config.special_tokens:
            sampled = [[*self._before, *row, *self._after] for row in sampled]
        return padded(sampled)

    def hidden(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the states of words [B, T, width], and of the first special token before and after them [B, width]."""
        ids, mask, end = self._with_special_tokens(ids_BT, mask_BT)
        states = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        start = len(self._before)
        return (
            states[:, start : start + ids_BT.shape[1]],
            states[:, 0],
            states[torch.arange(len(ids), device=ids.device), end],
        )

    def unknown_rate(self, texts: Sequence[str]) -> float:
        """Return the share of unknown tokens, 0 without tokens."""
        ids = [id for row in self._word_ids(texts) for id in row]
        return ids.count(self.tokenizer.unk_token_id) / max(len(ids), 1)

    def long_rate(self, texts: Sequence[str]) -> float:
        """Return the share of texts with more than ``max_words`` words, which are subsampled."""
        return truncated_fraction([len(row) for row in self._word_ids(texts)], self.max_words)

    def words(self, text: str) -> list[str]:
        """Return readable labels of the tokens; ``-`` precedes a token inside a word."""
        pieces = self._pieces(text)
        labels = [("-" if i and word == pieces[i - 1][1] else "") + piece for i, (piece, word, _) in enumerate(pieces)]
        words = [labels[i] for i in evenly(len(labels), self.max_words)]
        if not self.config.special_tokens:
            return words
        before, after = (self.tokenizer.convert_ids_to_tokens(ids) for ids in (self._before, self._after))
        return [*before, *words, *after]

    def word_spans(self, text: str) -> list[tuple[str, list[int]]]:
        """Return the words of the tokenizer with the positions of their tokens that remain after subsampling."""
        pieces = self._pieces(text)
        cleaned = clean(text)
        first_word = len(self._before) if self.config.special_tokens else 0
        position = {i: number for number, i in enumerate(evenly(len(pieces), self.max_words), start=first_word)}
        spans: dict[int, tuple[int, int, list[int]]] = {}
        for i, (_, word, (start, end)) in enumerate(pieces):
            first, last, positions = spans.get(word, (start, end, []))
            positions = [*positions, position[i]] if i in position else positions
            spans[word] = (min(first, start), max(last, end), positions)
        return [(cleaned[first:last].strip(), positions) for first, last, positions in spans.values() if positions]

    def _with_special_tokens(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ids and mask with special tokens, and the position [B] of the first special token after the words."""
        B, T = ids_BT.shape
        start, after = len(self._before), torch.tensor(self._after, dtype=torch.int64, device=ids_BT.device)
        pad = self.tokenizer.pad_token_id
        ids = ids_BT.new_full((B, start + T + len(after)), 0 if pad is None else pad)
        ids[:, :start] = torch.tensor(self._before, dtype=torch.int64, device=ids.device)
        ids[:, start : start + T] = torch.where(mask_BT, ids_BT, ids[:, start : start + T])
        ends = start + mask_BT.sum(1)
        after_positions = ends[:, None] + torch.arange(len(after), device=ids.device)
        ids.scatter_(1, after_positions, after.expand(B, -1))
        mask = torch.arange(ids.shape[1], device=ids.device) < (ends + len(after))[:, None]
        return ids, mask, ends.clamp_max(ids.shape[1] - 1)

    def _word_ids(self, texts: Sequence[str]) -> list[list[int]]:
        cleaned = [clean(text) for text in texts]
        # verbose=False: long texts are subsampled, so the length warning does not apply.
        return self.tokenizer(cleaned, add_special_tokens=False, verbose=False)["input_ids"] if cleaned else []

    def _pieces(self, text: str) -> list[tuple[str, int, tuple[int, int]]]:
        """Return the label, word index and span in the cleaned text of each token."""
        cleaned = clean(text)
        if not self.tokenizer.is_fast:
            names = self.tokenizer.tokenize(cleaned)
            return [(name, i, (0, 0)) for i, name in enumerate(names)]
        encoding = self.tokenizer(cleaned, add_special_tokens=False, return_offsets_mapping=True)
        names = self.tokenizer.convert_ids_to_tokens(encoding["input_ids"])
        words = [i if word is None else word for i, word in enumerate(encoding.word_ids())]
        return [
            (cleaned[a:b].strip() or name, word, (a, b))
            for name, word, (a, b) in zip(names, words, encoding["offset_mapping"], strict=True)
        ]


@torch.no_grad()
def check_max_tokens(encoder: HubEncoder, name: str | Path) -> None:
    """Raise ModelError if ``max_tokens`` words and the special tokens exceed the length limit of the model."""
    max_words = encoder.max_words
    try:
        encoder.hidden(torch.full((1, max_words), encoder._before[0]), torch.ones(1, max_words, dtype=torch.bool))
    except (IndexError, ValueError, RuntimeError) as error:
        raise ModelError(f"{name} does not support max_tokens {encoder.config.max_tokens}: lower it") from error


def check_missing_weights(name: str | Path, info: Any) -> None:
    """Raise ModelError if a checkpoint lacks weights of the encoder, other than the unused pooler."""
    missing = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    if missing:
        raise ModelError(f"{name} lacks {len(missing)} weights of this kind of encoder, such as {missing[0]}")
