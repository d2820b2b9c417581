"""One shard of an index: FAISS and the ids of its vectors in memory, tokens memory-mapped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from signatlas.errors import SnapshotError
from signatlas.retrieval import faiss_index as faiss_index
from signatlas.retrieval.merge import Ranked
from signatlas.retrieval.tokens import SEGMENT_FOLDER, TOKENS, TokenTable


class Shard:
    """Vectors whose position in ``ids`` is their position in ``index``, ``tokens`` and ``segments``; ids ascend."""

    def __init__(
        self,
        name: str,
        index: Any,
        ids: list[str],
        tokens: TokenTable | None = None,
        segments: TokenTable | None = None,
    ):
        self.name, self.index, self.ids, self.tokens, self.segments = name, index, ids, tokens, segments

    @classmethod
    def load(cls, folder: Path) -> Shard:
        index = faiss_index.read(folder / "index.faiss")
        ids = pq.read_table(folder / "ids.parquet", columns=["id"])["id"].to_pylist()
        if len(ids) != index.ntotal:
            raise SnapshotError(f"{folder.name} is refused: {index.ntotal} vectors but {len(ids)} ids; build it again")
        if not (folder / TOKENS).is_file():
            return cls(folder.name, index, ids)
        tables = [TokenTable.open(place, folder.name) for place in (folder, folder / SEGMENT_FOLDER)]
        for table in tables:
            if len(table) != len(ids):
                raise SnapshotError(
                    f"{folder.name} is refused: tokens of {len(table)} entries, {len(ids)} ids; build it again"
                )
        return cls(folder.name, index, ids, *tables)

    def search(self, vectors: np.ndarray, k: int) -> list[Ranked]:
        """The ``k`` best (id, score) of each query of float32 [Q, E]."""
        scores, positions = faiss_index.search(self.index, vectors, k)
        return [
            [(self.ids[p], s) for p, s in zip(places, found, strict=True) if p >= 0]
            for places, found in zip(positions.tolist(), scores.tolist(), strict=True)
        ]
