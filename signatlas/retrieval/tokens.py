"""Tokens of index entries: unit vectors in float16, all in one array, memory-mapped when searched."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from signatlas.errors import IndexVersionError

if TYPE_CHECKING:
    from signatlas.similarity import Tokens

TOKENS, OFFSETS = "tokens.npy", "offsets.npy"
SEGMENT_FOLDER = "segments"  # in a shard's folder, with the same two files: written before there were clusters
SEGMENTS = 4
SEGMENT_BATCH = 65536


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return rows float32 [N, E] normalized to length one."""
    values = np.asarray(vectors, np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)


class TokenTable:
    """Unit tokens float16 [M, E] of N entries; entry n has those at ``offsets[n]:offsets[n + 1]`` (int64 [N + 1])."""

    def __init__(self, tokens: np.ndarray, offsets: np.ndarray):
        self.tokens, self.offsets = tokens, offsets

    @classmethod
    def from_batches(cls, batches: Iterable[Tokens]) -> TokenTable:
        """Collect the valid tokens of encoded rows, without padding."""
        parts, lengths = [], [np.zeros(1, np.int64)]
        for batch in batches:
            mask = batch.mask.numpy()
            parts.append(unit(batch.tokens.numpy()[mask]).astype(np.float16))
            lengths.append(mask.sum(1).astype(np.int64))
        if not parts:
            raise IndexVersionError("nothing to index: no entry was encoded")
        return cls(np.concatenate(parts), np.cumsum(np.concatenate(lengths)))

    @classmethod
    def open(cls, folder: Path, shard: str) -> TokenTable:
        """Open a memory-mapped table. Raises IndexVersionError, naming the shard, for damaged or unmatched arrays."""
        try:
            offsets = np.load(folder / OFFSETS, allow_pickle=False)
            mode: Literal["r"] | None = "r" if len(offsets) > 1 else None
            tokens = np.load(folder / TOKENS, mmap_mode=mode, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise IndexVersionError(
                f"{shard} is refused: its tokens cannot be read ({error}); build the index again"
            ) from error
        if tokens.ndim != 2 or offsets.ndim != 1 or len(offsets) == 0 or offsets[-1] != len(tokens):
            raise IndexVersionError(
                f"{shard} is refused: tokens {tokens.shape} do not fit offsets {offsets.shape}; build the index again"
            )
        return cls(tokens, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Return the rows int64 [M] of ``tokens`` of the entries at ``positions`` int64 [C], entry after entry."""
        starts, lengths = self.offsets[positions], self.offsets[positions + 1] - self.offsets[positions]
        ends = np.cumsum(lengths)
        return np.asarray(np.repeat(starts - (ends - lengths), lengths) + np.arange(lengths.sum()))

    def take(self, positions: np.ndarray) -> TokenTable:
        """Return the entries at ``positions`` int64 [C], read into memory."""
        lengths = self.offsets[positions + 1] - self.offsets[positions]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return TokenTable(self.tokens.view(np.ndarray)[self.rows(positions)], offsets)

    def segments(self) -> TokenTable:
        """Return each entry as at most ``SEGMENTS`` consecutive segments, each the unit mean of its tokens."""
        lengths = np.diff(self.offsets)
        counts = np.minimum(lengths, SEGMENTS)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        # Token t of an entry of n lies in segment floor(t count / n): segments differ by one token at most.
        within = np.arange(self.offsets[-1]) - np.repeat(self.offsets[:-1], lengths)
        segment_of = np.repeat(offsets[:-1], lengths) + within * np.repeat(counts, lengths) // np.repeat(
            lengths, lengths
        )
        means = np.empty((int(offsets[-1]), self.tokens.shape[1]), np.float16)
        starts = np.searchsorted(segment_of, np.arange(len(means)))
        ends = np.append(starts[1:], len(segment_of))
        for begin in range(0, len(means), SEGMENT_BATCH):
            batch = slice(begin, begin + SEGMENT_BATCH)
            first = starts[batch][0]
            tokens = np.asarray(self.tokens[first : ends[batch][-1]], np.float32)
            means[batch] = unit(np.add.reduceat(tokens, starts[batch] - first, axis=0)).astype(np.float16)
        return TokenTable(means, offsets)

    def write(self, folder: Path, positions: np.ndarray) -> None:
        """Write the entries at ``positions``, in that order, without a second copy of them in memory."""
        lengths = self.offsets[positions + 1] - self.offsets[positions]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        shape = (int(offsets[-1]), self.tokens.shape[1])
        np.save(folder / OFFSETS, offsets)
        if shape[0] == 0:  # an empty file cannot be memory-mapped
            np.save(folder / TOKENS, np.zeros(shape, np.float16))
            return
        target = np.lib.format.open_memmap(folder / TOKENS, mode="w+", dtype=np.float16, shape=shape)
        for entry, position in enumerate(positions):
            source = slice(self.offsets[position], self.offsets[position + 1])
            target[offsets[entry] : offsets[entry + 1]] = self.tokens[source]
        target.flush()
