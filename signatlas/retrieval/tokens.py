"""The tokens of an index's entries: unit vectors in float16, all in one array, memory-mapped when searched."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from signatlas.errors import SnapshotError

if TYPE_CHECKING:
    from signatlas.similarity import Tokens

TOKENS, OFFSETS = "tokens.npy", "offsets.npy"
SEGMENT_FOLDER = "segments"  # in a shard's folder, with the same two files
SEGMENTS = 4
AT_ONCE = 65536  # segments that are averaged at a time


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows float32 [N, E] of length one."""
    values = np.asarray(vectors, np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)


class TokenTable:
    """Unit tokens float16 [M, E] of N entries; entry n has those at ``offsets[n]:offsets[n + 1]`` (int64 [N + 1])."""

    def __init__(self, tokens: np.ndarray, offsets: np.ndarray):
        self.tokens, self.offsets = tokens, offsets

    @classmethod
    def of(cls, batches: Iterable[Tokens]) -> TokenTable:
        """The valid tokens of encoded rows, padding left out."""
        parts, lengths = [], [np.zeros(1, np.int64)]
        for batch in batches:
            mask = batch.mask.numpy()
            parts.append(unit(batch.tokens.numpy()[mask]).astype(np.float16))
            lengths.append(mask.sum(1).astype(np.int64))
        if not parts:
            raise SnapshotError("nothing to index: no entry was encoded")
        return cls(np.concatenate(parts), np.cumsum(np.concatenate(lengths)))

    @classmethod
    def open(cls, folder: Path, shard: str) -> TokenTable:
        """Memory-mapped. Raises SnapshotError, naming the shard, for arrays that do not belong together."""
        try:
            offsets = np.load(folder / OFFSETS, allow_pickle=False)
            mapped: Literal["r"] | None = "r" if len(offsets) > 1 else None
            tokens = np.load(folder / TOKENS, mmap_mode=mapped, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise SnapshotError(f"{shard} is refused: its tokens cannot be read ({error}); build it again") from error
        if tokens.ndim != 2 or offsets.ndim != 1 or len(offsets) == 0 or offsets[-1] != len(tokens):
            raise SnapshotError(
                f"{shard} is refused: tokens {tokens.shape} do not fit offsets {offsets.shape}; build it again"
            )
        return cls(tokens, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, positions: np.ndarray) -> TokenTable:
        """The entries at ``positions`` int64 [C], read into memory."""
        starts, lengths = self.offsets[positions], np.diff(self.offsets)[positions]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        rows = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return TokenTable(self.tokens.view(np.ndarray)[rows], offsets)

    def segments(self) -> TokenTable:
        """Each entry as at most ``SEGMENTS`` parts that follow one another, a part by its unit mean token."""
        lengths = np.diff(self.offsets)
        parts = np.minimum(lengths, SEGMENTS)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(parts)])
        # Token t of an entry of n lies in part floor(t parts / n), so that parts differ by one token at most.
        within = np.arange(self.offsets[-1]) - np.repeat(self.offsets[:-1], lengths)
        home = np.repeat(offsets[:-1], lengths) + within * np.repeat(parts, lengths) // np.repeat(lengths, lengths)
        means = np.empty((int(offsets[-1]), self.tokens.shape[1]), np.float16)
        starts = np.searchsorted(home, np.arange(len(means)))
        ends = np.append(starts[1:], len(home))
        for begin in range(0, len(means), AT_ONCE):
            chosen = slice(begin, begin + AT_ONCE)
            first = starts[chosen][0]
            held = np.asarray(self.tokens[first : ends[chosen][-1]], np.float32)
            means[chosen] = unit(np.add.reduceat(held, starts[chosen] - first, axis=0)).astype(np.float16)
        return TokenTable(means, offsets)

    def write(self, folder: Path, positions: np.ndarray) -> None:
        """Write the entries at ``positions``, in that order, without a second copy of them in memory."""
        lengths = self.offsets[positions + 1] - self.offsets[positions]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        shape = (int(offsets[-1]), self.tokens.shape[1])
        np.save(folder / OFFSETS, offsets)
        if shape[0] == 0:  # a shard without entries: an empty file cannot be mapped
            np.save(folder / TOKENS, np.zeros(shape, np.float16))
            return
        target = np.lib.format.open_memmap(folder / TOKENS, mode="w+", dtype=np.float16, shape=shape)
        for place, position in enumerate(positions):
            source = slice(self.offsets[position], self.offsets[position + 1])
            target[offsets[place] : offsets[place + 1]] = self.tokens[source]
        target.flush()
