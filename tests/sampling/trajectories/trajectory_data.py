"""Trajectories of synthetic tokens: three checkpoints of 41 clips, as a reference run leaves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from signatlas.models.dual_encoder.config import SimilarityConfig
from signatlas.sampling.trajectories import Trajectories, store
from signatlas.sampling.trajectories.similarities import similarity_moments

EPOCHS = (5, 10, 20)
WIDTH = 12


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float16)


def tokens(clips: int, epochs: tuple[int, ...] = EPOCHS) -> dict[int, dict[str, list[np.ndarray]]]:
    """Unit tokens [n, WIDTH] of clips and texts by epoch; a clip and its text become more similar."""
    rng = np.random.default_rng(0)
    meanings = rng.normal(size=(clips, WIDTH))
    by_epoch: dict[int, dict[str, list[np.ndarray]]] = {}
    lengths = {"visual": rng.integers(1, 6, clips), "text": rng.integers(1, 5, clips)}
    for step, epoch in enumerate(epochs):
        by_epoch[epoch] = {
            side: [unit(rng.normal(size=(n, WIDTH)) + step * m) for n, m in zip(lengths[side], meanings, strict=True)]
            for side in ("visual", "text")
        }
    return by_epoch


def groups(clips: int) -> list[int]:
    """The last two clips have the same text."""
    return [*range(clips - 1), clips - 2]


def write(
    folder: Path, clips: int = 41, epochs: tuple[int, ...] = EPOCHS, ids: list[str] | None = None, **similarity: object
) -> Trajectories:
    """Write trajectories and open them; ``ids`` are those of the clips."""
    info = store.TrajectoriesInfo(
        epochs=epochs, similarity=SimilarityConfig.model_validate(similarity), corpus="synthetic",
        sources=tuple({"model": str(epoch)} for epoch in epochs),
    )  # fmt: skip
    ids = ids or [f"clip/{number}" for number in range(clips)]
    moments: list[dict[str, tuple[float, float]]] = []
    for epoch, sides in tokens(clips, epochs).items():
        cache_info = store.TokenCacheInfo(epoch=epoch, width=WIDTH, sources={"model": str(epoch)})
        parts = encoded(sides, unit_pooled=info.similarity.kind != "fine_grained")
        store.write_token_cache(folder, cache_info, ids, groups(clips), parts)
        moments.append(similarity_moments(store.TokenCache.open(folder / store.folder_name(epoch)), info))
    names = ("similarity", "pooled")
    store.write_info(folder, info.model_copy(update={"moments": {n: tuple(m[n] for m in moments) for n in names}}))
    return Trajectories.open(folder)


def encoded(
    sides: dict[str, list[np.ndarray]], *, unit_pooled: bool = False, step: int = 7
) -> list[store.EncodedClips]:
    """Parts of ``step`` clips; pooled vectors have unit length where they are what is compared."""
    parts = []
    for first in range(0, len(sides["text"]), step):
        values = []
        for side in ("visual", "text"):
            rows = sides[side][first : first + step]
            pooled = np.stack([row.astype(np.float32).mean(0) for row in rows])
            counts = np.array([len(row) for row in rows])
            values += [np.concatenate(rows), counts, unit(pooled) if unit_pooled else pooled]
        parts.append(store.EncodedClips(*values))
    return parts
