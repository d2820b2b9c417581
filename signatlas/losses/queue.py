"""A queue of past texts per language: further negatives for video-to-text (memory bank; He et al. 2020, MoCo)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from signatlas.errors import TextError
from signatlas.similarity import Tokens


class TextQueue:
    """The last ``size`` texts of each language, without gradients, and their groups of identical texts.

    It is the same on every rank, as each pushes the gathered batch.
    """

    def __init__(self, languages: Sequence[str], size: int):
        self.languages, self.size = tuple(languages), size
        self._entries: dict[str, tuple[Tensor, ...]] = {}  # by language: tokens, mask, CLS where there is one, groups

    def __len__(self) -> int:
        return sum(len(entry[-1]) for entry in self._entries.values())

    def push(self, language: str, text: Tokens, groups: Tensor) -> None:
        """Append the texts of a batch and their groups int64 [B]. Raises TextError for another language."""
        if language not in self.languages:
            raise TextError(f"the queue holds texts in {', '.join(self.languages)}, not '{language}': reset it first")
        new = (*(part.detach() for part in text if part is not None), groups)
        old = self._entries.get(language)
        if old is not None:
            new = tuple(_concatenate(a.to(b.device), b) for a, b in zip(old, new, strict=True))
        self._entries[language] = tuple(part[-self.size :] for part in new)

    def entries(self) -> tuple[Tokens, Tensor] | None:
        """Return the texts of all languages and their groups; None while the queue is empty."""
        entries = [self._entries[language] for language in self.languages if language in self._entries]
        if not entries:
            return None
        parts = entries[0]
        for entry in entries[1:]:
            parts = tuple(_concatenate(a, b) for a, b in zip(parts, entry, strict=True))
        return Tokens(*parts[:-1]), parts[-1]

    def reset(self, languages: Sequence[str]) -> None:
        """Empty the queue if the languages change."""
        if tuple(languages) != self.languages:
            self.languages, self._entries = tuple(languages), {}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the content as tensors, for a checkpoint."""
        return {f"{language}.{n}": part for language, entry in self._entries.items() for n, part in enumerate(entry)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._entries = {}
        for language in self.languages:
            numbers = sorted(int(name.rpartition(".")[2]) for name in state if name.rpartition(".")[0] == language)
            if numbers:
                self._entries[language] = tuple(state[f"{language}.{n}"] for n in numbers)


def _concatenate(a: Tensor, b: Tensor) -> Tensor:
    """Return the rows of both; tokens and masks of shorter texts are padded."""
    if a.ndim > 1 and a.shape[1] != b.shape[1] and (a.ndim == 3 or a.dtype == torch.bool):
        length = max(a.shape[1], b.shape[1])
        a, b = (F.pad(x, (0, 0) * (x.ndim - 2) + (0, length - x.shape[1])) for x in (a, b))
    return torch.cat([a, b])
