"""Two-stage search in a shard: pooled vectors and segments choose candidates, whose tokens are scored exactly."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch

from signatlas.models.dual_encoder.config import SimilarityConfig
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.retrieval.faiss_index import DEFAULT_EFFORT, Effort
from signatlas.retrieval.shard import Ranked, Shard
from signatlas.retrieval.tokens import TokenTable, unit
from signatlas.similarity import Tokens

CANDIDATES = 200  # of each shard
SPREAD = 10  # entries per candidate that the pooled vectors choose, before segments narrow them down
SHARED_EXPONENT = 80.0  # up to this 1/tau, one float32 exponential serves both directions
Side = Literal["text", "video"]


class Query(NamedTuple):
    """An encoded text or video: its unit vector float32 [E] and its unit tokens float32 [T, E]."""

    side: Side
    vector: np.ndarray
    tokens: np.ndarray


class ShardResult(NamedTuple):
    """The best entries of a shard, the number of pairs scored token by token, and of those scored by segments."""

    ranked: Ranked
    scored: int
    coarse: int = 0


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

    Pooled vectors choose ``SPREAD`` times ``candidates`` entries. Their segments (the same similarity over four means
    an entry) choose the candidates, at least ``k``, which are scored token by token. Where the similarity compares
    pooled vectors, these alone decide.
    """
    count = k if shard.tokens is None else max(candidates, k)
    spread = count if shard.segments is None else count * SPREAD
    positions, pooled_scores = _nearest(shard, query.vector, spread, allowed, effort)
    if shard.tokens is None or len(positions) == 0:
        return ShardResult([(shard.ids[p], float(s)) for p, s in zip(positions, pooled_scores, strict=True)], 0)
    positions = np.sort(positions)  # reads the memory map forwards and orders equal scores by id
    coarse_pairs = 0
    if shard.segments is not None and len(positions) > count:
        coarse_pairs = len(positions)
        coarse = scores(query.tokens, query.side, shard.segments.take(positions), config)
        positions = np.sort(positions[np.argsort(-coarse, kind="stable")[:count]])
    exact = scores(query.tokens, query.side, shard.tokens.take(positions), config)
    best = np.argsort(-exact, kind="stable")[:k]
    return ShardResult([(shard.ids[positions[b]], float(exact[b])) for b in best], len(positions), coarse_pairs)


def scores(query: np.ndarray, side: Side, candidates: TokenTable, config: SimilarityConfig) -> np.ndarray:
    """Return beta video_to_text + (1 - beta) text_to_video, float32 [C], as ``DualEncoder.score`` with masked padding.

    ``query`` are unit tokens float32 [T, E] of one text or video, ``candidates`` C entries of the other side. A
    candidate's score depends on nothing but the pair: products are taken in float64, where the order of their sum does
    not show, and every sum runs within one candidate.
    """
    # torch converts float16 five times as fast as numpy.
    tokens = torch.from_numpy(np.ascontiguousarray(candidates.tokens)).double().numpy()
    length = np.sqrt(np.einsum("me,me->m", tokens, tokens))  # not exactly one after float16
    S = (tokens @ query.astype(np.float64).T / length[:, None]).astype(np.float32)  # [M, T]
    starts, lengths = candidates.offsets[:-1], np.diff(candidates.offsets)
    per_candidate_token, per_query_token = _attended(S, starts, lengths, config.tau)
    by_candidate = _over_candidate(per_candidate_token[:, None], starts, lengths, config)[:, 0]
    by_query = _over_query(per_query_token, config)
    weight = config.beta if side == "text" else 1 - config.beta  # of the mean over the candidates' tokens
    return (weight * by_candidate + (1 - weight) * by_query).astype(np.float32)


def _nearest(
    shard: Shard, vector: np.ndarray, count: int, allowed: np.ndarray | None, effort: Effort
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and scores of the ``count`` allowed entries with the nearest pooled vectors."""
    pooled_scores, positions = shard.nearest(vector[None], count, allowed, effort)
    valid = positions[0] >= 0
    return positions[0][valid], pooled_scores[0][valid]


def _attended(S: np.ndarray, starts: np.ndarray, lengths: np.ndarray, tau: float) -> tuple[np.ndarray, np.ndarray]:
    """Return attention-weighted similarities: per candidate token over the query [M], per query token [C, T]."""
    if 1 / tau < SHARED_EXPONENT:
        rows = columns = np.exp(S / np.float32(tau))
    else:
        rows = np.exp((S - S.max(1, keepdims=True)) / np.float32(tau))
        columns = np.exp((S - np.repeat(np.maximum.reduceat(S, starts), lengths, axis=0)) / np.float32(tau))
    per_candidate_token = (rows * S).sum(1) / rows.sum(1)
    per_query_token = np.add.reduceat(columns * S, starts) / np.add.reduceat(columns, starts)
    return per_candidate_token, per_query_token


def _over_candidate(
    values: np.ndarray, starts: np.ndarray, lengths: np.ndarray, config: SimilarityConfig
) -> np.ndarray:
    """Aggregate values of the candidates' tokens [M, 1] into one per candidate (CiCo, supplement, Table 2)."""
    if config.aggregation == "mean":
        return np.asarray(np.add.reduceat(values, starts) / lengths[:, None])
    highest = np.maximum.reduceat(values, starts)
    if config.aggregation == "max":
        return np.asarray(highest)
    weights = np.exp((values - np.repeat(highest, lengths, axis=0)) / np.float32(config.tau))
    return np.asarray(np.add.reduceat(weights * values, starts) / np.add.reduceat(weights, starts))


def _over_query(values: np.ndarray, config: SimilarityConfig) -> np.ndarray:
    """Aggregate values of the query's tokens [C, T] into one per candidate."""
    if config.aggregation == "mean":
        return np.asarray(values.mean(1))
    if config.aggregation == "max":
        return np.asarray(values.max(1))
    weights = np.exp((values - values.max(1, keepdims=True)) / np.float32(config.tau))
    return np.asarray((weights * values).sum(1) / weights.sum(1))
