"""A memory of past text features per language: further negatives for video to text (facts: cross-lingual)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from signatlas.errors import TextError


class TextQueue:
    """The last ``size`` texts of each language: tokens, masks and the numbers that identical texts share.

    Nothing in it has a gradient. Every rank holds the same, as each pushes the gathered batch.
    """

    def __init__(self, languages: Sequence[str], size: int):
        self.languages, self.size = tuple(languages), size
        self._held: dict[str, tuple[Tensor, ...]] = {}

    def __len__(self) -> int:
        return sum(len(held[-1]) for held in self._held.values())

    def push(self, language: str, parts: tuple[Tensor, ...], groups: Tensor) -> None:
        """Add a batch: ``parts`` are tensors [B, ...] (tokens [B, T, D], mask [B, T], vectors [B, D])."""
        if language not in self.languages:
            raise TextError(f"the queue holds {', '.join(self.languages)}, not '{language}': reset it")
        new = (*(x.detach() for x in parts), groups)
        old = self._held.get(language)
        joined = new if old is None else tuple(_stacked(a, b) for a, b in zip(old, new, strict=True))
        self._held[language] = tuple(x[-self.size :] for x in joined)

    def texts(self) -> tuple[Tensor, ...] | None:
        """All languages' parts and, last, their groups; None while it is empty."""
        held = [self._held[language] for language in self.languages if language in self._held]
        if not held:
            return None
        result = held[0]
        for more in held[1:]:
            result = tuple(_stacked(a, b) for a, b in zip(result, more, strict=True))
        return result

    def reset(self, languages: Sequence[str]) -> None:
        """Forget everything when the set of languages changes."""
        if tuple(languages) != self.languages:
            self.languages, self._held = tuple(languages), {}

    def state(self) -> dict[str, Tensor]:
        """As tensors, for a checkpoint."""
        return {f"{language}.{n}": x for language, held in self._held.items() for n, x in enumerate(held)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take back what :meth:`state` gave."""
        self._held = {}
        for language in self.languages:
            numbers = sorted(int(name.rpartition(".")[2]) for name in state if name.rpartition(".")[0] == language)
            if numbers:
                self._held[language] = tuple(state[f"{language}.{n}"] for n in numbers)


def _stacked(a: Tensor, b: Tensor) -> Tensor:
    """Rows of both; where texts are of two lengths the shorter ones are padded."""
    if a.ndim > 1 and a.shape[1] != b.shape[1] and (a.ndim == 3 or a.dtype == torch.bool):
        length = max(a.shape[1], b.shape[1])
        a, b = (F.pad(x, (0, 0) * (x.ndim - 2) + (0, length - x.shape[1])) for x in (a, b))
    return torch.cat([a, b])
