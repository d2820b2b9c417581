"""Similarity trajectories of all pairs of videos and texts over a reference model's checkpoints (SCL-SLT)."""

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
from signatlas.sampling.trajectories.store import INFO, TokenCache, TrajectoriesInfo, folder_name, read_info

Trajectory = Literal["endpoints", "slope"]
DENSE = 20_000  # largest number of clips whose matrix is computed: 0.8 GB on disk, 1.6 GB in memory
POOL = 1024  # clips of a pool if there are more
BLOCK = 512  # clips and texts compared at a time
SAMPLE = 256  # clips and texts whose similarities give the moments


class Trajectories:
    """Token caches of a reference model's checkpoints. ``ids`` are the clips; rows and columns are positions in it."""

    def __init__(self, path: Path, info: TrajectoriesInfo, token_caches: Sequence[TokenCache]):
        self.path, self.info, self.token_caches = path, info, token_caches
        self.ids: list[str] = token_caches[0].ids
        self.epochs: list[int] = list(info.epochs)

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, verify: bool = False) -> Trajectories:
        """Open a folder ``trajectories``; ``verify`` checks all files against their checksums.

        Raises FeatureError for fewer than two checkpoints and for damaged files.
        """
        path = Path(folder)
        info = read_info(path)
        check_checkpoints(len(info.epochs), path)
        token_caches = [TokenCache.open(path / folder_name(epoch)) for epoch in info.epochs]
        for token_cache, sources in zip(token_caches, info.sources, strict=True):
            if token_cache.info.sources != sources or token_cache.ids != token_caches[0].ids:
                raise FeatureError(f"{token_cache.path} does not belong to {path / INFO}: delete {path}, train again")
            if verify:
                token_cache.verify()
        return cls(path, info, token_caches)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the content: changes with any checkpoint, clip or setting."""
        return sha256_bytes((self.path / INFO).read_bytes())[:16]

    def similarity(self, checkpoint: int, rows: Any, columns: Any) -> np.ndarray:
        """Return 1/2 (video-to-text + text-to-video), float32 [R, C], of clips and texts, without a logit scale.

        ``checkpoint`` is a position in ``epochs``.
        """
        return cached_similarity(self.token_caches[checkpoint], self.info, np.asarray(rows), np.asarray(columns))

    def weights(self, trajectory: Trajectory, zscore: bool = False, *, moments: str = "similarity") -> np.ndarray:
        """Return each checkpoint's weight in delta, float64 [K]; they sum to 0 without ``zscore``.

        ``endpoints``: last minus first. ``slope``: the change from first to last of a line fitted by least squares.
        ``moments`` (``"similarity"`` or ``"pooled"``) are those whose deviations ``zscore`` divides by.
        """
        weights = np.zeros(len(self.epochs))
        if trajectory == "endpoints":
            weights[0], weights[-1] = -1.0, 1.0
        elif trajectory == "slope":
            times = np.array(self.epochs, np.float64) - np.mean(self.epochs)
            weights = times / (times**2).sum() * (self.epochs[-1] - self.epochs[0])
        else:
            raise ValueError(f"trajectory {trajectory!r}: use 'endpoints' or 'slope'")
        return weights / np.array([deviation for _, deviation in self.info.moments[moments]]) if zscore else weights

    def delta(self, rows: Any, columns: Any, trajectory: Trajectory = "endpoints", zscore: bool = False) -> np.ndarray:
        """Return the change float32 [R, C] of the similarity of clips ``rows`` and texts ``columns``.

        ``zscore`` first scales each checkpoint's similarities to mean 0 and deviation 1 (of a sample of pairs).
        """
        total = np.zeros((len(rows), len(columns)), np.float32)
        for checkpoint, weight in enumerate(self.weights(trajectory, zscore)):
            if weight:
                similarity = self.similarity(checkpoint, rows, columns)
                if zscore:
                    similarity -= np.float32(self.info.moments["similarity"][checkpoint][0])
                total += np.float32(weight) * similarity
        return total

    def dense(
        self,
        trajectory: Trajectory = "endpoints",
        zscore: bool = False,
        *,
        progress: Callable[[int], Any] | None = None,
    ) -> np.ndarray:
        """Return delta of all pairs, float16 [N, N], memory-mapped from a file that is computed if it is missing."""
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
            columns = np.arange(count)
            for first in range(0, count, BLOCK):
                rows = columns[first : first + BLOCK]
                matrix[rows[0] : rows[-1] + 1] = self.delta(rows, columns, trajectory, zscore)
                if progress:
                    progress(int(rows[-1]) + 1)
            matrix.flush()
            partial.chmod(0o644)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)

    def factors(self, trajectory: Trajectory = "endpoints", zscore: bool = False) -> LowRankDelta:
        """Return delta of the pooled vectors: exact for a pooled similarity, else without the token weights."""
        weights = self.weights(trajectory, zscore, moments="pooled")
        used = [c for c, weight in enumerate(weights) if weight]
        left, right = ([self.token_caches[c].arrays[f"{side}_pooled"] for c in used] for side in ("visual", "text"))
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
        """Return the source of delta for pair selection: factors, a matrix, or pools for more than DENSE clips.

        A missing matrix is computed here. ``pool`` is the size of pools of tokens, if the plan names none.
        """
        if low_rank:
            return self.factors(trajectory, zscore)
        if len(self) <= DENSE:
            return DenseDelta(self.dense(trajectory, zscore, progress=progress))
        return TokenDelta(lambda rows, columns: self.delta(rows, columns, trajectory, zscore), len(self), pool or POOL)


def check_checkpoints(count: int, folder: str | os.PathLike[str]) -> None:
    """Raise FeatureError for fewer checkpoints than a trajectory needs."""
    if count < 2:
        raise FeatureError(
            f"reference run without enough checkpoints: {folder} has {count}, a trajectory needs two; train it for "
            "more epochs or lower negative_selection.keep_every"
        )


def cached_similarity(cache: TokenCache, info: TrajectoriesInfo, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return 1/2 (video-to-text + text-to-video), float32 [R, C]; on a GPU if there is one."""
    import torch

    from signatlas.similarity import fine_grained, pooled

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if info.similarity.kind != "fine_grained":
        vectors = (cache.arrays[f"{side}_pooled"][index] for side, index in (("visual", rows), ("text", columns)))
        scores: np.ndarray = pooled(*(torch.from_numpy(v).to(device).float() for v in vectors)).cpu().numpy()
        return scores
    total = np.empty((len(rows), len(columns)), np.float32)
    text_order = np.argsort(cache.counts["text"][columns], kind="stable")
    for videos in np.array_split(np.argsort(cache.counts["visual"][rows], kind="stable"), -(-len(rows) // BLOCK)):
        video, video_mask = (torch.from_numpy(x).to(device) for x in cache.tokens("visual", rows[videos]))
        for texts in np.array_split(text_order, -(-len(columns) // BLOCK)):
            text, text_mask = (torch.from_numpy(x).to(device) for x in cache.tokens("text", columns[texts]))
            with torch.no_grad():
                video_to_text, text_to_video = fine_grained(
                    video.float(), text.float(), video_mask, text_mask, tau=info.similarity.tau,
                    aggregation=info.similarity.aggregation,
                )  # fmt: skip
            total[videos[:, None], texts] = ((video_to_text + text_to_video) / 2).cpu().numpy()
    return total


def similarity_moments(cache: TokenCache, info: TrajectoriesInfo) -> dict[str, tuple[float, float]]:
    """Return mean and deviation of the ``similarity`` of a sample of pairs, and of the products of ``pooled``."""
    count, rng = len(cache.ids), np.random.default_rng(0)
    rows, columns = (np.sort(rng.permutation(count)[:SAMPLE]) for _ in range(2))
    pooled = [
        np.asarray(cache.arrays[f"{side}_pooled"][index], np.float64)
        for side, index in zip(("visual", "text"), (rows, columns), strict=True)
    ]
    products = pooled[0] @ pooled[1].T
    moments = {}
    for name, values in (("similarity", cached_similarity(cache, info, rows, columns)), ("pooled", products)):
        deviation = float(np.std(values, dtype=np.float64))
        # Rounded, so that the order in which a machine adds up does not show.
        moments[name] = (float(f"{np.mean(values, dtype=np.float64):.6g}"), float(f"{max(deviation, 1e-6):.6g}"))
    return moments
