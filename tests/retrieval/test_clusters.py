"""Clusters and centroids of entries: what they stand for, what they find, and what a damaged table says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signatlas.errors import IndexVersionError
from signatlas.models.dual_encoder.config import SimilarityConfig
from signatlas.retrieval import faiss_index
from signatlas.retrieval.clusters import CLUSTERS, ClusterTable, cluster_tokens
from signatlas.retrieval.shard import Shard
from signatlas.retrieval.tokens import TokenTable, unit
from signatlas.retrieval.two_stage import Query, Side, rank, scores

ENTRIES, WIDTH = 1200, 32


@pytest.fixture(scope="module")
def signing() -> TokenTable:
    """Entries of 3 to 7 of 40 signs; the windows of a sign share noise, as those of one recording do."""
    rng = np.random.default_rng(0)
    signs = unit(rng.normal(0, 1, (40, WIDTH)))
    rows, lengths = [], []
    for _ in range(ENTRIES):
        chosen = rng.integers(40, size=rng.integers(3, 8))
        noisy = signs[chosen] + 0.1 * rng.normal(0, 1, (len(chosen), WIDTH))
        windows = np.repeat(noisy, rng.integers(2, 6, len(chosen)), axis=0)
        rows.append(windows + 0.02 * rng.normal(0, 1, windows.shape))
        lengths.append(len(windows))
    return TokenTable(unit(np.concatenate(rows)).astype(np.float16), np.cumsum([0, *lengths]))


@pytest.fixture(scope="module")
def clusters(signing: TokenTable) -> ClusterTable:
    return ClusterTable.build(signing)


@pytest.fixture(scope="module")
def shards(signing: TokenTable, clusters: ClusterTable) -> tuple[Shard, Shard]:
    """The same entries with clusters, and with segments as older indexes have them."""
    rows = np.split(signing.tokens.astype(np.float32), signing.offsets[1:-1])
    index = faiss_index.build(unit(np.stack([row.mean(0) for row in rows])))
    ids = [f"{n:05d}" for n in range(ENTRIES)]
    return Shard("a", index, ids, signing, None, clusters), Shard("b", index, ids, signing, signing.segments())


def queries(signing: TokenTable, count: int = 10) -> list[Query]:
    """One noisy window of every second sign of some entries."""
    rng = np.random.default_rng(1)
    found = []
    for entry in rng.choice(ENTRIES, count, replace=False):
        tokens = signing.tokens[signing.offsets[entry] : signing.offsets[entry + 1] : 4].astype(np.float32)
        tokens = unit(tokens + 0.1 * rng.normal(0, 1, tokens.shape))
        found.append(Query("text", unit(tokens.mean(0)[None])[0], tokens))
    return found


def test_clusters_are_the_distinct_tokens_of_an_entry_and_their_counts() -> None:
    rng = np.random.default_rng(2)
    distinct = unit(rng.normal(0, 1, (12, WIDTH))).astype(np.float16)
    entries = [[0, 0, 1, 0, 2], [3], [4, 5] * 9 + [6], [7, 8, 9, 10, 11, 0, 1, 2]]
    table = TokenTable(distinct[np.concatenate(entries)], np.cumsum([0, *map(len, entries)]))
    vectors, counts = cluster_tokens(table)
    assert np.diff(vectors.offsets).tolist() == [3, 1, 3, 8]
    for number, entry in enumerate(entries):
        part = slice(vectors.offsets[number], vectors.offsets[number + 1])
        nearest = (vectors.tokens[part].astype(np.float32) @ distinct.astype(np.float32).T).argmax(1)
        assert dict(zip(nearest.tolist(), counts[part].tolist(), strict=True)) == {n: entry.count(n) for n in entry}


def test_an_entry_has_a_limited_number_of_clusters(signing: TokenTable, clusters: ClusterTable) -> None:
    sizes = np.add.reduceat(clusters.counts, clusters.vectors.offsets[:-1])
    assert (sizes == np.diff(signing.offsets)).all()
    assert np.diff(clusters.vectors.offsets).max() == CLUSTERS
    norms = np.linalg.norm(clusters.vectors.tokens.astype(np.float32), axis=1)
    np.testing.assert_allclose(norms, 1, atol=2e-3)


@pytest.mark.parametrize("side", ["text", "video"])
@pytest.mark.parametrize("aggregation", ["mean", "max", "softmax"])
@pytest.mark.parametrize("tau", [7e-3, 7e-2])
def test_a_vector_with_a_count_scores_like_so_many_tokens(side: Side, aggregation: str, tau: float) -> None:
    config = SimilarityConfig.model_validate({"aggregation": aggregation, "tau": tau, "beta": 0.3})
    rng = np.random.default_rng(3)
    vectors, counts = unit(rng.normal(0, 1, (6, WIDTH))), np.array([1, 4, 2, 7, 1, 3])
    query = unit(rng.normal(0, 1, (5, WIDTH)))
    few = scores(query, side, TokenTable(vectors, np.array([0, 2, 6])), config, counts.astype(np.float32))
    many = scores(query, side, TokenTable(np.repeat(vectors, counts, 0), np.array([0, 5, 18])), config)
    np.testing.assert_allclose(few, many, atol=1e-5)


def test_lookups_are_the_similarities_of_the_centroids(signing: TokenTable, clusters: ClusterTable) -> None:
    query = queries(signing, 1)[0].tokens
    per_centroid, mean, per_query_token = clusters.attended(query, 0.07)
    S = clusters.centroids[clusters.codes].astype(np.float64) @ query.T
    weights, counts, starts = np.exp(S / 0.07), clusters.counts[:, None], clusters.vectors.offsets[:-1]
    expected = (weights * S).sum(1, keepdims=True) / weights.sum(1, keepdims=True)
    np.testing.assert_allclose(per_centroid[clusters.codes], expected[:, 0], atol=1e-5)
    expected = np.add.reduceat(expected * counts, starts) / np.add.reduceat(counts, starts)
    np.testing.assert_allclose(mean, expected[:, 0], atol=1e-5)
    weights *= counts
    expected = np.add.reduceat(weights * S, starts) / np.add.reduceat(weights, starts)
    np.testing.assert_allclose(per_query_token, expected, atol=1e-5)


def test_centroids_and_residuals_add_up_to_the_mean_token(signing: TokenTable, clusters: ClusterTable) -> None:
    entry = slice(signing.offsets[7], signing.offsets[8])
    part = slice(clusters.vectors.offsets[7], clusters.vectors.offsets[8])
    shares = clusters.counts[part, None] / clusters.counts[part].sum()
    mean = (clusters.centroids[clusters.codes[part]] * shares).sum(0) + clusters.residuals[7]
    np.testing.assert_allclose(mean, signing.tokens[entry].astype(np.float32).mean(0), atol=1e-5)


@pytest.mark.parametrize(
    ("aggregation", "tau", "candidates"),
    [("mean", 7e-4, 50), ("mean", 7e-2, 50), ("max", 7e-4, 100), ("max", 7e-2, 100), ("softmax", 7e-2, 100)],
)
def test_few_candidates_find_the_exhaustive_best_ten_with_their_exact_scores(
    signing: TokenTable, shards: tuple[Shard, Shard], aggregation: str, tau: float, candidates: int
) -> None:
    """A maximum is decided by one window, which the mean of its sign does not show: more candidates are needed."""
    config = SimilarityConfig.model_validate({"aggregation": aggregation, "tau": tau})
    recalls = []
    for shard in shards:
        hits = 0
        for query in queries(signing):
            exact = scores(query.tokens, "text", signing, config)
            best = np.argsort(-exact, kind="stable")[:10]
            result = rank(shard, query, config, 10, candidates=candidates)
            assert all(score == exact[int(id)] for id, score in result.ranked)
            assert (result.scored, result.coarse) == (candidates, 10 * candidates)
            hits += len({int(id) for id, _ in result.ranked} & set(best.tolist()))
        recalls.append(hits / 100)
    assert recalls[0] >= 0.99 and recalls[0] >= recalls[1]


def test_every_product_is_counted(
    signing: TokenTable, clusters: ClusterTable, shards: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    query = queries(signing, 1)[0]
    taken: list[int] = []
    take = TokenTable.take

    def counted(table: TokenTable, positions: np.ndarray) -> TokenTable:
        taken.append(len(take(table, positions).tokens))
        return take(table, positions)

    monkeypatch.setattr(TokenTable, "take", counted)
    result = rank(shards[0], query, SimilarityConfig(), 10, candidates=50)
    assert len(taken) == 2  # clusters of 500 entries, tokens of 50
    assert result.products == len(query.tokens) * (len(clusters.centroids) + sum(taken)) + ENTRIES


def test_a_filter_applies_before_the_best_are_chosen(signing: TokenTable, shards: tuple[Shard, Shard]) -> None:
    config, rare = SimilarityConfig(), {"00003", "00300", "00600", "00900", "01199"}
    for query in queries(signing, 5):
        exact = scores(query.tokens, "text", signing, config)
        allowed = np.array([id in rare for id in shards[0].ids])
        result = rank(shards[0], query, config, 10, candidates=20, allowed=allowed)
        assert [id for id, _ in result.ranked] == sorted(rare, key=lambda id: -exact[int(id)])
        even = rank(shards[0], query, config, 10, candidates=50, allowed=np.arange(ENTRIES) % 2 == 0)
        best = np.argsort(-exact[::2], kind="stable")[:10] * 2
        assert len({int(id) for id, _ in even.ranked} & set(best.tolist())) >= 9
        assert rank(shards[0], query, config, 10, candidates=20, allowed=np.zeros(ENTRIES, bool)).ranked == []


def test_the_same_seed_gives_the_same_table(signing: TokenTable, clusters: ClusterTable) -> None:
    again, other = ClusterTable.build(signing), ClusterTable.build(signing, seed=1)
    for name in ("counts", "codes", "centroids", "residuals"):
        assert (getattr(again, name) == getattr(clusters, name)).all()
    assert (again.vectors.tokens == clusters.vectors.tokens).all()
    assert (other.centroids != clusters.centroids).any()


def test_a_table_is_written_by_entries_and_memory_mapped(clusters: ClusterTable, tmp_path: Path) -> None:
    positions = np.array([5, 1199, 17])
    clusters.write(tmp_path, positions)
    part = ClusterTable.open(tmp_path, "shard-000")
    assert isinstance(part.vectors.tokens, np.memmap) and isinstance(part.residuals, np.memmap)
    rows = clusters.vectors.rows(positions)
    assert (part.codes == clusters.codes[rows]).all() and (part.counts == clusters.counts[rows]).all()
    assert (part.vectors.tokens == clusters.vectors.tokens[rows]).all()
    assert (part.residuals == clusters.residuals[positions]).all()
    query = np.eye(3, WIDTH, dtype=np.float32)
    np.testing.assert_allclose(part.attended(query, 0.07)[2], clusters.attended(query, 0.07)[2][positions], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "damaged"),
    [
        ("counts.npy", np.zeros(2, np.uint16)),
        ("codes.npy", None),
        ("centroids.npy", np.zeros((4, 5), np.float32)),
        ("residuals.npy", np.zeros((2, WIDTH), np.float32)),
    ],
)
def test_a_damaged_table_is_refused_by_the_name_of_its_shard(
    clusters: ClusterTable, tmp_path: Path, name: str, damaged: np.ndarray | None
) -> None:
    clusters.write(tmp_path, np.arange(10))
    if damaged is None:  # numbers that no centroid has
        damaged = np.full(len(clusters.vectors.rows(np.arange(10))), 60_000, np.uint16)
    np.save(tmp_path / name, damaged)
    with pytest.raises(IndexVersionError, match=r"shard-007 is refused: counts .* build the index again"):
        ClusterTable.open(tmp_path, "shard-007")
    (tmp_path / name).write_bytes(b"\x93NUMPY")
    with pytest.raises(IndexVersionError, match="shard-007 is refused: its clusters cannot be read"):
        ClusterTable.open(tmp_path, "shard-007")
