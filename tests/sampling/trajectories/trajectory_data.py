"""Trajectories of made-up tokens: three checkpoints of 41 clips, as a reference run leaves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from signatlas.files import write_text_atomically
from signatlas.models.dual_encoder.config import SimilarityConfig
from signatlas.sampling.trajectories import store as store
from signatlas.sampling.trajectories.similarities import Trajectories, moments

EPOCHS = (5, 10, 20)
WIDTH = 12


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float16)


def tokens(clips: int, epochs: tuple[int, ...] = EPOCHS) -> dict[int, dict[str, list[np.ndarray]]]:
    """Unit tokens [n, WIDTH] of clips and texts by epoch; those of a clip and its text come closer."""
    rng = np.random.default_rng(0)
    meanings = rng.normal(size=(clips, WIDTH))
    found: dict[int, dict[str, list[np.ndarray]]] = {}
    lengths = {"visual": rng.integers(1, 6, clips), "text": rng.integers(1, 5, clips)}
    for step, epoch in enumerate(epochs):
        found[epoch] = {
            side: [unit(rng.normal(size=(n, WIDTH)) + step * m) for n, m in zip(lengths[side], meanings, strict=True)]
            for side in ("visual", "text")
        }
    return found


def groups(clips: int) -> list[int]:
    """The last two clips say the same."""
    return [*range(clips - 1), clips - 2]


def write(
    folder: Path, clips: int = 41, epochs: tuple[int, ...] = EPOCHS, ids: list[str] | None = None, **similarity: object
) -> Trajectories:
    """Write trajectories and open them; ``ids`` are those of the clips."""
    info = store.TrajectoriesInfo(
        epochs=epochs, similarity=SimilarityConfig.model_validate(similarity), corpus="made",
        snapshots=tuple({"model": str(epoch)} for epoch in epochs),
    )  # fmt: skip
    ids = ids or [f"clip/{number}" for number in range(clips)]
    found: list[dict[str, tuple[float, float]]] = []
    for epoch, sides in tokens(clips, epochs).items():
        made = store.SnapshotInfo(epoch=epoch, width=WIDTH, made={"model": str(epoch)})
        store.write_snapshot(
            folder, made, ids, groups(clips), parts(sides, compared=info.similarity.kind != "fine_grained")
        )
        found.append(moments(store.Snapshot.open(folder / store.folder_name(epoch)), info))
    info = info.model_copy(update={"moments": {n: tuple(f[n] for f in found) for n in ("similarity", "pooled")}})
    write_text_atomically(folder / store.INFO, info.model_dump_json())
    return Trajectories.open(folder)


def parts(sides: dict[str, list[np.ndarray]], *, compared: bool = False, step: int = 7) -> list[store.Encoded]:
    """Of ``step`` clips each; pooled vectors are of length one where they are what is compared."""
    made = []
    for first in range(0, len(sides["text"]), step):
        values = []
        for side in ("visual", "text"):
            rows = sides[side][first : first + step]
            pooled = np.stack([row.astype(np.float32).mean(0) for row in rows])
            values += [np.concatenate(rows), np.array([len(row) for row in rows]), unit(pooled) if compared else pooled]
        made.append(store.Encoded(*values))
    return made
