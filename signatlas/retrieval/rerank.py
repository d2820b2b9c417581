"""Exact fine-grained scores of one query against its own list of candidates, ragged and without padding."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from signatlas.models.dual_encoder.config import SimilarityConfig
from signatlas.retrieval.tokens import TokenTable

Side = Literal["text", "video"]
SHARED_EXPONENT = 80.0  # up to this 1/tau one exponential in float32 serves both directions (facts: large-batch)


def scores(query: np.ndarray, side: Side, candidates: TokenTable, config: SimilarityConfig) -> np.ndarray:
    """beta I2T + (1 - beta) T2I, float32 [C], as ``DualEncoder.score`` with padding ``masked`` has it.

    ``query`` are unit tokens float32 [T, E] of one text or of one video, ``candidates`` C entries of the other side.
    A candidate's score depends on nothing but the pair: the products are taken in float64, where the order of their
    sum does not show, and every sum runs within one candidate.
    """
    tokens = (
        torch.from_numpy(np.ascontiguousarray(candidates.tokens)).double().numpy()
    )  # numpy takes five times as long
    length = np.sqrt(np.einsum("me,me->m", tokens, tokens))  # float16 has left them not quite of length one
    S = (tokens @ query.astype(np.float64).T / length[:, None]).astype(np.float32)  # [M, T]
    starts, lengths = candidates.offsets[:-1], np.diff(candidates.offsets)
    of_tokens, of_query = _attended(S, starts, lengths, config.tau)
    by_candidate = _over_candidate(of_tokens[:, None], starts, lengths, config)[:, 0]
    by_query = _over_query(of_query, config)
    share = config.beta if side == "text" else 1 - config.beta  # of what is averaged over the candidates' tokens
    return (share * by_candidate + (1 - share) * by_query).astype(np.float32)


def _attended(S: np.ndarray, starts: np.ndarray, lengths: np.ndarray, tau: float) -> tuple[np.ndarray, np.ndarray]:
    """For each candidate token the query tokens it answers to [M], for each query token those of a candidate [C, T]."""
    if 1 / tau < SHARED_EXPONENT:
        rows = columns = np.exp(S / np.float32(tau))
    else:
        rows = np.exp((S - S.max(1, keepdims=True)) / np.float32(tau))
        columns = np.exp((S - np.repeat(np.maximum.reduceat(S, starts), lengths, axis=0)) / np.float32(tau))
    of_tokens = (rows * S).sum(1) / rows.sum(1)
    of_query = np.add.reduceat(columns * S, starts) / np.add.reduceat(columns, starts)
    return of_tokens, of_query


def _over_candidate(
    values: np.ndarray, starts: np.ndarray, lengths: np.ndarray, config: SimilarityConfig
) -> np.ndarray:
    """One number a candidate from those of its tokens [M, 1] (supplement, Table 2)."""
    if config.aggregation == "mean":
        return np.asarray(np.add.reduceat(values, starts) / lengths[:, None])
    highest = np.maximum.reduceat(values, starts)
    if config.aggregation == "max":
        return np.asarray(highest)
    weights = np.exp((values - np.repeat(highest, lengths, axis=0)) / np.float32(config.tau))
    return np.asarray(np.add.reduceat(weights * values, starts) / np.add.reduceat(weights, starts))


def _over_query(values: np.ndarray, config: SimilarityConfig) -> np.ndarray:
    """One number a candidate from those of the query's tokens [C, T]."""
    if config.aggregation == "mean":
        return np.asarray(values.mean(1))
    if config.aggregation == "max":
        return np.asarray(values.max(1))
    weights = np.exp((values - values.max(1, keepdims=True)) / np.float32(config.tau))
    return np.asarray((weights * values).sum(1) / weights.sum(1))
