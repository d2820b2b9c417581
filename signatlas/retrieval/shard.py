"""One shard of an index: FAISS and the ids of its vectors in memory, tokens memory-mapped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from signatlas.errors import SnapshotError
from signatlas.retrieval import index as faiss_index
from signatlas.retrieval.merge import Ranked
from signatlas.retrieval.tokens import TOKENS, TokenTable


class Shard:
    """Vectors whose position in ``ids`` is their position in ``index`` and in ``tokens``; ids ascend."""

    def __init__(self, name: str, index: Any, ids: list[str], tokens: TokenTable | None = None):
        self.name, self.index, self.ids, self.tokens = name, index, ids, tokens

    @classmethod
    def load(cls, folder: Path) -> Shard:
        index = faiss_index.read(folder / "index.faiss")
        ids = pq.read_table(folder / "ids.parquet", columns=["id"])["id"].to_pylist()
        if len(ids) != index.ntotal:
            raise SnapshotError(f"{folder.name} is refused: {index.ntotal} vectors but {len(ids)} ids; build it again")
        tokens = TokenTable.open(folder) if (folder / TOKENS).is_file() else None
        if tokens is not None and len(tokens) != len(ids):
            raise SnapshotError(
                f"{folder.name} is refused: tokens of {len(tokens)} entries, {len(ids)} ids; build it again"
            )
        return cls(folder.name, index, ids, tokens)

    def search(self, vectors: np.ndarray, k: int) -> list[Ranked]:
        """The ``k`` best (id, score) of each query of float32 [Q, E]."""
        scores, positions = faiss_index.search(self.index, vectors, k)
        return [
            [(self.ids[p], s) for p, s in zip(places, found, strict=True) if p >= 0]
            for places, found in zip(positions.tolist(), scores.tolist(), strict=True)
        ]
