"""How the similarity of any video and any text changed while a reference model learned (SCL-SLT)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from signatlas.errors import FeatureError
from signatlas.files import sha256_bytes
from signatlas.sampling.pair_selection.sources import DeltaSource, DenseDelta, LowRankDelta, TokenDelta
from signatlas.sampling.trajectories.store import INFO, Snapshot, TrajectoriesInfo, folder_name, read_info

Trajectory = Literal["endpoints", "slope"]
DENSE = 20_000  # clips whose matrix is computed once: 0.8 GB on disk, 1.6 GB in memory
POOL = 1024  # clips of a pool where there are more
BLOCK = 512  # clips and texts that are compared at a time
SAMPLE = 256  # clips and texts of which mean and deviation are taken


class Trajectories:
    """Cached token features of a reference model's checkpoints. ``ids`` are the clips, in the order of positions."""

    def __init__(self, path: Path, info: TrajectoriesInfo, snapshots: Sequence[Snapshot]):
        self.path, self.info, self.snapshots = path, info, snapshots
        self.ids: list[str] = snapshots[0].ids
        self.epochs: list[int] = list(info.epochs)

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, verify: bool = False) -> Trajectories:
        """Raises FeatureError for fewer than two checkpoints and for what is damaged; ``verify`` reads all of it."""
        path = Path(folder)
        info = read_info(path)
        enough(len(info.epochs), path)
        snapshots = [Snapshot.open(path / folder_name(epoch)) for epoch in info.epochs]
        for snapshot, made in zip(snapshots, info.snapshots, strict=True):
            if snapshot.info.made != made or snapshot.ids != snapshots[0].ids:
                raise FeatureError(f"{snapshot.path} does not belong to {path / INFO}: delete {path}, train again")
            if verify:
                snapshot.verify()
        return cls(path, info, snapshots)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def fingerprint(self) -> str:
        """Of the content: changes when any checkpoint, clip or setting does."""
        return sha256_bytes((self.path / INFO).read_bytes())[:16]

    def similarity(self, checkpoint: int, rows: Any, columns: Any) -> np.ndarray:
        """1/2 (video-to-text + text-to-video), float32 [R, C], of clips and texts at a checkpoint, by blocks.

        ``checkpoint`` is a place in ``epochs``; there is no logit scale in it.
        """
        return similarity(self.snapshots[checkpoint], self.info, np.asarray(rows), np.asarray(columns))

    def weights(self, trajectory: Trajectory, zscore: bool = False, *, of: str = "similarity") -> np.ndarray:
        """What each checkpoint's similarity counts for, float64 [K]; they add up to 0 unless ``zscore``.

        ``endpoints``: last minus first. ``slope``: the change from first to last of a line fitted by least squares.
        """
        weights = np.zeros(len(self.epochs))
        if trajectory == "endpoints":
            weights[0], weights[-1] = -1.0, 1.0
        elif trajectory == "slope":
            times = np.array(self.epochs, np.float64) - np.mean(self.epochs)
            weights = times / (times**2).sum() * (self.epochs[-1] - self.epochs[0])
        else:
            raise ValueError(f"trajectory {trajectory!r}: use 'endpoints' or 'slope'")
        return weights / np.array([deviation for _, deviation in self.info.moments[of]]) if zscore else weights

    def delta(self, rows: Any, columns: Any, trajectory: Trajectory = "endpoints", zscore: bool = False) -> np.ndarray:
        """The change float32 [R, C] of the similarity of clips ``rows`` and texts ``columns``.

        ``zscore`` brings each checkpoint's similarities to mean 0 and deviation 1 first, as a sample of pairs has them.
        """
        total = np.zeros((len(rows), len(columns)), np.float32)
        for checkpoint, weight in enumerate(self.weights(trajectory, zscore)):
            if weight:
                found = self.similarity(checkpoint, rows, columns)
                if zscore:
                    found -= np.float32(self.info.moments["similarity"][checkpoint][0])
                total += np.float32(weight) * found
        return total

    def dense(
        self,
        trajectory: Trajectory = "endpoints",
        zscore: bool = False,
        *,
        progress: Callable[[int], Any] | None = None,
    ) -> np.ndarray:
        """All of delta, float16 [N, N], mapped from a file beside the features that is made when it is missing."""
        target = self.path / f"delta-{trajectory}{'-zscore' * zscore}-{self.fingerprint}.npy"
        if not target.is_file():
            self._write_dense(target, trajectory, zscore, progress)
        return np.load(target, mmap_mode="r", allow_pickle=False)

    def _write_dense(self, target: Path, trajectory: Trajectory, zscore: bool, progress: Any) -> None:
        count = len(self)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(handle)
        partial = Path(name)
        try:
            matrix = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=(count, count))
            everyone = np.arange(count)
            for first in range(0, count, BLOCK):
                rows = everyone[first : first + BLOCK]
                matrix[rows[0] : rows[-1] + 1] = self.delta(rows, everyone, trajectory, zscore)
                if progress:
                    progress(int(rows[-1]) + 1)
            matrix.flush()
            partial.chmod(0o644)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)

    def factors(self, trajectory: Trajectory = "endpoints", zscore: bool = False) -> LowRankDelta:
        """delta of the pooled vectors: exact where these are compared, else without the weighting of tokens."""
        weights = self.weights(trajectory, zscore, of="pooled")
        used = [c for c, weight in enumerate(weights) if weight]
        left, right = ([self.snapshots[c].arrays[f"{side}_pooled"] for c in used] for side in ("visual", "text"))
        return LowRankDelta(left, right, [float(weights[c]) for c in used])

    def source(
        self,
        *,
        trajectory: Trajectory = "endpoints",
        zscore: bool = False,
        low_rank: bool = False,
        pool: int | None = None,
        progress: Callable[[int], Any] | None = None,
    ) -> DeltaSource:
        """Where pair selection gets delta from: factors, a matrix, or, for more clips than DENSE, pools of tokens.

        A matrix that is missing is computed here. ``pool`` is the size of pools of tokens where a plan names none.
        """
        if low_rank:
            return self.factors(trajectory, zscore)
        if len(self) <= DENSE:
            return DenseDelta(self.dense(trajectory, zscore, progress=progress))
        return TokenDelta(lambda rows, columns: self.delta(rows, columns, trajectory, zscore), len(self), pool or POOL)


def enough(count: int, where: str | os.PathLike[str]) -> None:
    """Raises FeatureError for fewer checkpoints than a trajectory has."""
    if count < 2:
        raise FeatureError(
            f"reference run without enough checkpoints: {where} has {count}, a trajectory needs two; train it for more "
            "epochs or lower selection.every"
        )


def similarity(snapshot: Snapshot, info: TrajectoriesInfo, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """1/2 (video-to-text + text-to-video), float32 [R, C]; on a GPU where there is one."""
    import torch

    from signatlas.similarity import fine_grained, pooled

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if info.similarity.kind != "fine_grained":
        vectors = (snapshot.arrays[f"{s}_pooled"][which] for s, which in (("visual", rows), ("text", columns)))
        found: np.ndarray = pooled(*(torch.from_numpy(v).to(device).float() for v in vectors)).cpu().numpy()
        return found
    total = np.empty((len(rows), len(columns)), np.float32)
    by_length = np.argsort(snapshot.counts["text"][columns], kind="stable")
    for down in np.array_split(np.argsort(snapshot.counts["visual"][rows], kind="stable"), -(-len(rows) // BLOCK)):
        video, video_mask = (torch.from_numpy(x).to(device) for x in snapshot.tokens("visual", rows[down]))
        for across in np.array_split(by_length, -(-len(columns) // BLOCK)):
            text, text_mask = (torch.from_numpy(x).to(device) for x in snapshot.tokens("text", columns[across]))
            with torch.no_grad():
                to_text, to_video = fine_grained(
                    video.float(), text.float(), video_mask, text_mask, tau=info.similarity.tau,
                    aggregation=info.similarity.aggregation,
                )  # fmt: skip
            total[down[:, None], across] = ((to_text + to_video) / 2).cpu().numpy()
    return total


def moments(snapshot: Snapshot, info: TrajectoriesInfo) -> dict[str, tuple[float, float]]:
    """Mean and deviation of the similarities, and of the products of pooled vectors, of a sample of pairs."""
    count, rng = len(snapshot.ids), np.random.default_rng(0)
    rows, columns = (np.sort(rng.permutation(count)[:SAMPLE]) for _ in range(2))
    pooled = [
        np.asarray(snapshot.arrays[f"{s}_pooled"][w], np.float64)
        for s, w in zip(("visual", "text"), (rows, columns), strict=True)
    ]
    products = pooled[0] @ pooled[1].T
    found = {}
    for name, values in (("similarity", similarity(snapshot, info, rows, columns)), ("pooled", products)):
        deviation = float(np.std(values, dtype=np.float64))
        # Rounded, so that no trace of how a machine adds up is left.
        found[name] = (float(f"{np.mean(values, dtype=np.float64):.6g}"), float(f"{max(deviation, 1e-6):.6g}"))
    return found
