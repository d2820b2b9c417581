"""Two-stage search in a shard: centroids and clusters choose candidates, whose tokens are scored exactly."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch

from signatlas.models.dual_encoder.config import SimilarityConfig
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.retrieval.clusters import RESIDUAL_WEIGHT, ClusterTable
from signatlas.retrieval.faiss_index import DEFAULT_EFFORT, Effort
from signatlas.retrieval.shard import Ranked, Shard
from signatlas.retrieval.tokens import TokenTable, unit
from signatlas.similarity import Tokens

CANDIDATES = 200  # of each shard
SPREAD = 10  # entries per candidate that the centroids choose, before clusters narrow them down
SHARED_EXPONENT = 80.0  # up to this 1/tau, one float32 exponential serves both directions
Side = Literal["text", "video"]


class Query(NamedTuple):
    """An encoded text or video: its unit vector float32 [E] and its unit tokens float32 [T, E]."""

    side: Side
    vector: np.ndarray
    tokens: np.ndarray


class ShardResult(NamedTuple):
    """The best entries of a shard, and what they cost.

    ``scored`` pairs are scored token by token, ``coarse`` by clusters (or segments). ``products`` counts all inner
    products of vectors [E]: a query token with a centroid, cluster or token, the query's mean with each residual.
    """

    ranked: Ranked
    scored: int
    coarse: int = 0
    products: int = 0


def encode_queries(model: DualEncoder, side: Side, encoded: Tokens) -> list[Query]:
    """Return encoded rows as queries, without padding."""
    vectors, mask, tokens = model.pooled(encoded).numpy(), encoded.mask.numpy(), encoded.tokens.numpy()
    return [Query(side, vectors[row], unit(tokens[row][mask[row]])) for row in range(len(mask))]


def rank(
    shard: Shard,
    query: Query,
    config: SimilarityConfig,
    k: int,
    candidates: int = CANDIDATES,
    allowed: np.ndarray | None = None,
    effort: Effort = DEFAULT_EFFORT,
) -> ShardResult:
    """Return the ``k`` best of a shard's entries, or of those at ``allowed`` bool [N] positions; ties by id ascending.

    Centroids choose ``SPREAD`` times ``candidates`` of the allowed entries. Their clusters, scored like tokens, choose
    the candidates, at least ``k``, which are scored token by token. A shard with segments chooses by pooled vectors and
    segments instead. Where the similarity compares pooled vectors, these alone decide.
    """
    if shard.tokens is None:
        positions, pooled_scores = _nearest(shard, query.vector, k, allowed, effort)
        ranked = [(shard.ids[p], float(s)) for p, s in zip(positions, pooled_scores, strict=True)]
        return ShardResult(ranked, 0, products=len(shard.ids))
    count = max(candidates, k)
    if shard.clusters is not None:
        positions, products = _by_centroids(shard, shard.clusters, query, count * SPREAD, config, allowed)
    else:
        spread = count if shard.segments is None else count * SPREAD
        positions, products = _nearest(shard, query.vector, spread, allowed, effort)[0], len(shard.ids)
    if len(positions) == 0:
        return ShardResult([], 0, products=products)
    positions = np.sort(positions)  # reads the memory map forwards and orders equal scores by id
    coarse_pairs = 0
    if len(positions) > count:
        coarse_pairs = len(positions)
        coarse, table = _coarse_scores(shard, query, positions, config)
        products += len(query.tokens) * len(table.tokens)
        positions = np.sort(positions[np.argsort(-coarse, kind="stable")[:count]])
    tokens = shard.tokens.take(positions)
    products += len(query.tokens) * len(tokens.tokens)
    exact = scores(query.tokens, query.side, tokens, config)
    best = np.argsort(-exact, kind="stable")[:k]
    ranked = [(shard.ids[positions[b]], float(exact[b])) for b in best]
    return ShardResult(ranked, len(positions), coarse_pairs, products)


def scores(
    query: np.ndarray, side: Side, candidates: TokenTable, config: SimilarityConfig, counts: np.ndarray | None = None
) -> np.ndarray:
    """Return beta video_to_text + (1 - beta) text_to_video, float32 [C], as ``DualEncoder.score`` with masked padding.

    ``query`` are unit tokens float32 [T, E] of one text or video, ``candidates`` C entries of the other side. A
    candidate's score depends on nothing but the pair: products are taken in float64, where the order of their sum does
    not show, and every sum runs within one candidate. With ``counts`` float32 [M], each of the candidates' vectors
    stands for so many equal tokens.
    """
    # torch converts float16 five times as fast as numpy. Vectors with counts only choose candidates: float32 will do.
    dtype = torch.float64 if counts is None else torch.float32
    tokens = torch.from_numpy(np.ascontiguousarray(candidates.tokens)).to(dtype).numpy()
    length = np.sqrt(np.einsum("me,me->m", tokens, tokens))  # not exactly one after float16
    S = (tokens @ query.astype(tokens.dtype).T / length[:, None]).astype(np.float32)  # [M, T]
    starts, lengths = candidates.offsets[:-1], np.diff(candidates.offsets)
    per_candidate_token, per_query_token = _attended(S, starts, lengths, config.tau, counts)
    by_candidate = _over_candidate(per_candidate_token[:, None], starts, lengths, config, counts)[:, 0]
    return _both(by_candidate, _over_query(per_query_token, config), side, config)


def _by_centroids(
    shard: Shard,
    clusters: ClusterTable,
    query: Query,
    count: int,
    config: SimilarityConfig,
    allowed: np.ndarray | None,
) -> tuple[np.ndarray, int]:
    """Return the positions of the ``count`` allowed entries that score highest by centroids, and the products."""
    positions = np.arange(len(shard.ids)) if allowed is None else np.flatnonzero(allowed)
    if count >= len(positions):
        return positions, 0
    per_centroid, by_candidate, per_query_token = clusters.attended(query.tokens, config.tau)
    if config.aggregation != "mean":
        offsets, counts = clusters.vectors.offsets, clusters.counts.astype(np.float32)
        per_cluster = per_centroid[clusters.codes]
        by_candidate = _over_candidate(per_cluster[:, None], offsets[:-1], np.diff(offsets), config, counts)[:, 0]
    approximate = _both(by_candidate, _over_query(per_query_token, config), query.side, config)
    approximate += RESIDUAL_WEIGHT * clusters.residual_scores(query.tokens.mean(0))
    products = len(clusters.centroids) * len(query.tokens) + len(shard.ids)
    return positions[np.argpartition(-approximate[positions], count - 1)[:count]], products


def _coarse_scores(
    shard: Shard, query: Query, positions: np.ndarray, config: SimilarityConfig
) -> tuple[np.ndarray, TokenTable]:
    """Return the scores of entries by their clusters, or segments, and the table of these."""
    if shard.clusters is not None:
        table, counts = shard.clusters.take(positions)
        return scores(query.tokens, query.side, table, config, counts), table
    assert shard.segments is not None
    table = shard.segments.take(positions)
    return scores(query.tokens, query.side, table, config), table


def _nearest(
    shard: Shard, vector: np.ndarray, count: int, allowed: np.ndarray | None, effort: Effort
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and scores of the ``count`` allowed entries with the nearest pooled vectors."""
    pooled_scores, positions = shard.nearest(vector[None], count, allowed, effort)
    valid = positions[0] >= 0
    return positions[0][valid], pooled_scores[0][valid]


def _attended(
    S: np.ndarray, starts: np.ndarray, lengths: np.ndarray, tau: float, counts: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return attention-weighted similarities: per candidate token over the query [M], per query token [C, T]."""
    if 1 / tau < SHARED_EXPONENT:
        rows = columns = np.exp(S / np.float32(tau))
    else:
        rows = np.exp((S - S.max(1, keepdims=True)) / np.float32(tau))
        columns = np.exp((S - np.repeat(np.maximum.reduceat(S, starts), lengths, axis=0)) / np.float32(tau))
    per_candidate_token = (rows * S).sum(1) / rows.sum(1)
    if counts is not None:
        columns = columns * counts[:, None]
    per_query_token = np.add.reduceat(columns * S, starts) / np.add.reduceat(columns, starts)
    return per_candidate_token, per_query_token


def _both(by_candidate: np.ndarray, by_query: np.ndarray, side: Side, config: SimilarityConfig) -> np.ndarray:
    """Return the score float32 [C] from the aggregates over the candidates' tokens and over the query's, [C] each."""
    weight = config.beta if side == "text" else 1 - config.beta  # of the mean over the candidates' tokens
    return np.asarray(weight * by_candidate + (1 - weight) * by_query, np.float32)


def _over_candidate(
    values: np.ndarray, starts: np.ndarray, lengths: np.ndarray, config: SimilarityConfig, counts: np.ndarray | None
) -> np.ndarray:
    """Aggregate values of the candidates' tokens [M, 1] into one per candidate (CiCo, supplement, Table 2)."""
    if config.aggregation == "mean" and counts is None:
        return np.asarray(np.add.reduceat(values, starts) / lengths[:, None])
    if config.aggregation == "mean":
        weights = np.ones_like(values)
    else:
        highest = np.maximum.reduceat(values, starts)
        if config.aggregation == "max":
            return np.asarray(highest)
        weights = np.exp((values - np.repeat(highest, lengths, axis=0)) / np.float32(config.tau))
    if counts is not None:
        weights = weights * counts[:, None]
    return np.asarray(np.add.reduceat(weights * values, starts) / np.add.reduceat(weights, starts))


def _over_query(values: np.ndarray, config: SimilarityConfig) -> np.ndarray:
    """Aggregate values of the query's tokens [C, T] into one per candidate."""
    if config.aggregation == "mean":
        return np.asarray(values.mean(1))
    if config.aggregation == "max":
        return np.asarray(values.max(1))
    weights = np.exp((values - values.max(1, keepdims=True)) / np.float32(config.tau))
    return np.asarray((weights * values).sum(1) / weights.sum(1))
