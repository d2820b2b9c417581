"""The first stages of sentence search: few weighted vectors for each entry, and one table of centroids for all.

The tokens of one sign are alike, so an entry's tokens fall into a few clusters, each a unit vector with the number of
its tokens (token pooling: Clavié et al. 2024, https://arxiv.org/abs/2409.14683). Every cluster also has the number of
its nearest centroid, so that one product of each query token with each centroid scores all entries by lookup (centroid
interaction: PLAID, Santhanam et al. 2022, https://arxiv.org/abs/2205.09707). What the centroids leave out is kept as
one vector for each entry, the mean residual of its tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from signatlas.errors import IndexVersionError
from signatlas.retrieval.tokens import TokenTable

CLUSTER_FOLDER = "clusters"  # in a shard's folder
COUNTS, CODES, CENTROIDS, RESIDUALS = "counts.npy", "codes.npy", "centroids.npy", "residuals.npy"
CLUSTERS = 8  # of an entry, at most
CENTROIDS_AT_MOST = 1024
CLUSTERS_PER_CENTROID = 8  # at least so many clusters of the index for each centroid: small indexes have fewer
SAMPLE_PER_CENTROID = 32  # clusters that train the centroids, at most: bounds the time
LLOYD_STEPS, KMEANS_STEPS = 4, 8
ENTRY_BATCH, ROW_BATCH = 1024, 65_536
# The score grows faster along a residual than the uniform mean does, since attention prefers similar tokens.
RESIDUAL_WEIGHT = 1.5
LARGEST_EXPONENT = 80.0  # 1/tau of the lookup tables: above it float32 overflows


class ClusterTable:
    """Clusters and centroid codes of N entries.

    ``vectors`` are the clusters' unit vectors, at most ``CLUSTERS`` an entry; ``counts`` uint16 [K] their numbers of
    tokens, ``codes`` uint16 [K] their centroids. ``centroids`` float32 [C, E] are those of the whole index, and
    ``residuals`` float32 [N, E] an entry's mean token less the mean of its centroids.
    """

    def __init__(
        self, vectors: TokenTable, counts: np.ndarray, codes: np.ndarray, centroids: np.ndarray, residuals: np.ndarray
    ):
        self.vectors, self.counts, self.codes = vectors, counts, codes
        self.centroids, self.residuals = centroids, residuals
        lengths = np.diff(vectors.offsets)
        self._entry_sizes = np.add.reduceat(counts.astype(np.float32), vectors.offsets[:-1]) if len(lengths) else counts
        shares = counts.astype(np.float32) / np.repeat(self._entry_sizes, lengths)
        self._bags = torch.from_numpy(codes.astype(np.int32)), torch.from_numpy(vectors.offsets.astype(np.int32))
        self._shares = torch.from_numpy(shares)

    @classmethod
    def build(cls, tokens: TokenTable, seed: int = 0) -> ClusterTable:
        """Cluster the tokens of each entry and train the centroids; the same seed gives the same table."""
        vectors, counts = cluster_tokens(tokens)
        centroids = train_centroids(vectors.tokens, seed)
        codes = _nearest_centroids(vectors.tokens, centroids)
        residuals = _residuals(tokens, vectors, counts, codes, centroids)
        return cls(vectors, counts, codes, centroids, residuals)

    @classmethod
    def open(cls, folder: Path, shard: str) -> ClusterTable:
        """Open a table; vectors and residuals are memory-mapped. Raises IndexVersionError, naming the shard."""
        vectors = TokenTable.open(folder, shard)
        mode: Any = "r" if len(vectors) else None  # an empty file cannot be memory-mapped
        try:
            counts, codes, centroids = (
                np.load(folder / name, allow_pickle=False) for name in (COUNTS, CODES, CENTROIDS)
            )
            residuals = np.load(folder / RESIDUALS, mmap_mode=mode, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise IndexVersionError(
                f"{shard} is refused: its clusters cannot be read ({error}); build the index again"
            ) from error
        width = vectors.tokens.shape[1]
        rows = (len(vectors.tokens),)
        fits = (
            counts.shape == codes.shape == rows
            and centroids.ndim == 2
            and centroids.shape[1] == width
            and residuals.shape == (len(vectors), width)
            and (len(vectors) == 0 or (np.diff(vectors.offsets).min() > 0 and codes.max() < len(centroids)))
        )
        if not fits:
            raise IndexVersionError(
                f"{shard} is refused: counts {counts.shape}, codes {codes.shape}, centroids {centroids.shape} and "
                f"residuals {residuals.shape} do not fit {len(vectors)} entries with {rows[0]} clusters; build the "
                "index again"
            )
        return cls(vectors, counts, codes, centroids, residuals)

    def __len__(self) -> int:
        return len(self.vectors)

    def write(self, folder: Path, positions: np.ndarray) -> None:
        """Write the entries at ``positions``, in that order, with all centroids."""
        rows = self.vectors.rows(positions)
        self.vectors.write(folder, positions)
        np.save(folder / COUNTS, self.counts[rows])
        np.save(folder / CODES, self.codes[rows])
        np.save(folder / CENTROIDS, self.centroids)
        np.save(folder / RESIDUALS, self.residuals[positions])

    def take(self, positions: np.ndarray) -> tuple[TokenTable, np.ndarray]:
        """Return the cluster vectors of the entries at ``positions`` and their counts float32."""
        return self.vectors.take(positions), self.counts[self.vectors.rows(positions)].astype(np.float32)

    def attended(self, query: np.ndarray, tau: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return attention-weighted similarities by centroids: per centroid over the query [C], the mean of these over
        each entry's clusters [N], and per query token over each entry's clusters [N, T].

        ``query`` are unit tokens float32 [T, E]. Its products with the centroids are the only ones; entries look theirs
        up. A ``tau`` too small for float32 is raised.
        """
        S = torch.from_numpy(self.centroids @ query.T)  # [C, T]
        exponentials = torch.exp(S / max(tau, 1 / LARGEST_EXPONENT))
        weighted = exponentials * S
        per_centroid = weighted.sum(1, keepdim=True) / exponentials.sum(1, keepdim=True)
        codes, offsets = self._bags
        sums = torch.nn.functional.embedding_bag(
            codes,
            torch.cat([exponentials, weighted, per_centroid], 1),
            offsets,
            mode="sum",
            per_sample_weights=self._shares,
            include_last_offset=True,
        )
        T = len(query)
        return per_centroid[:, 0].numpy(), sums[:, 2 * T].numpy(), (sums[:, T : 2 * T] / sums[:, :T]).numpy()

    def residual_scores(self, vector: np.ndarray) -> np.ndarray:
        """Return the inner products float32 [N] of the residuals with one vector float32 [E]."""
        return np.asarray(self.residuals @ vector.astype(np.float32))


def cluster_tokens(tokens: TokenTable) -> tuple[TokenTable, np.ndarray]:
    """Return at most ``CLUSTERS`` unit vectors for each entry, in the order of entries, and their counts uint16 [K].

    Spherical k-means within an entry, started from tokens that are far from each other, the first one first.
    """
    parts, counts, lengths = [np.zeros((0, tokens.tokens.shape[1]), np.float16)], [np.zeros(0, np.uint16)], []
    for start in range(0, len(tokens), ENTRY_BATCH):
        table = tokens.take(np.arange(start, min(start + ENTRY_BATCH, len(tokens))))
        centers, sizes = _cluster_batch(table)
        used = sizes > 0
        parts.append(centers[used].half().numpy())
        counts.append(sizes[used].numpy().astype(np.uint16))
        lengths.append(used.sum(1).numpy())
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]))])
    return TokenTable(np.concatenate(parts), offsets.astype(np.int64)), np.concatenate(counts)


def _cluster_batch(table: TokenTable) -> tuple[torch.Tensor, torch.Tensor]:
    """Return centers float32 [N, CLUSTERS, E] and their numbers of tokens [N, CLUSTERS], 0 for those not used."""
    lengths = torch.from_numpy(np.diff(table.offsets))
    rows = torch.nn.utils.rnn.pad_sequence(
        list(torch.from_numpy(np.asarray(table.tokens, np.float32)).split(lengths.tolist())), batch_first=True
    )
    rows = torch.nn.functional.normalize(rows, dim=-1)
    mask = torch.arange(rows.shape[1]) < lengths[:, None]
    entry = torch.arange(len(rows))
    centers = rows[:, :1].clone()
    nearest = (rows * centers).sum(-1).masked_fill(~mask, torch.inf)  # cosine to the nearest center so far
    while centers.shape[1] < min(CLUSTERS, rows.shape[1]):
        farthest = rows[entry, nearest.argmin(1)][:, None]
        centers = torch.cat([centers, farthest], 1)
        nearest = torch.maximum(nearest, (rows * farthest).sum(-1))
    for _ in range(LLOYD_STEPS):
        # Of equal centers, as in an entry with fewer tokens, the first one gets the tokens.
        assigned = torch.bmm(rows, centers.transpose(1, 2)).argmax(-1)
        members = torch.nn.functional.one_hot(assigned, centers.shape[1]).float() * mask[..., None]
        sums = torch.bmm(members.transpose(1, 2), rows)
        centers = torch.where(members.sum(1)[..., None] > 0, torch.nn.functional.normalize(sums, dim=-1), centers)
    return centers, members.sum(1)


def train_centroids(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return centroids float32 [C, E] of unit vectors float16 [K, E] by spherical k-means over a sample of them."""
    import faiss

    count = min(CENTROIDS_AT_MOST, max(1, len(vectors) // CLUSTERS_PER_CENTROID))
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(vectors), min(len(vectors), count * SAMPLE_PER_CENTROID), replace=False))
    kmeans = faiss.Kmeans(
        vectors.shape[1], count, niter=KMEANS_STEPS, seed=seed, spherical=True, min_points_per_centroid=1,
        max_points_per_centroid=SAMPLE_PER_CENTROID,
    )  # fmt: skip
    kmeans.train(np.asarray(vectors[rows], np.float32))
    return np.asarray(kmeans.centroids, np.float32)


def _nearest_centroids(vectors: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return the number uint16 [K] of each vector's nearest centroid."""
    right = torch.from_numpy(centroids).T
    codes = [np.zeros(0, np.uint16)]
    for start in range(0, len(vectors), ROW_BATCH):
        left = torch.from_numpy(np.array(vectors[start : start + ROW_BATCH])).float()
        codes.append((left @ right).argmax(1).numpy().astype(np.uint16))
    return np.concatenate(codes)


def _residuals(
    tokens: TokenTable, vectors: TokenTable, counts: np.ndarray, codes: np.ndarray, centroids: np.ndarray
) -> np.ndarray:
    """Return each entry's mean token less the mean of its centroids, weighted by their tokens, float32 [N, E]."""
    residuals = np.empty((len(tokens), centroids.shape[1]), np.float32)  # float16 would be converted for each query
    for start in range(0, len(tokens), ENTRY_BATCH):
        positions = np.arange(start, min(start + ENTRY_BATCH, len(tokens)))
        batch, rows = tokens.take(positions), vectors.rows(positions)
        sums = np.add.reduceat(np.asarray(batch.tokens, np.float32), batch.offsets[:-1])
        starts = vectors.offsets[positions] - vectors.offsets[positions[0]]
        sums -= np.add.reduceat(centroids[codes[rows]] * counts[rows, None].astype(np.float32), starts)
        residuals[positions] = sums / np.diff(batch.offsets)[:, None]
    return residuals
