"""Two stages inside a shard: pooled vectors and segments choose candidates, whose tokens are scored exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from signatlas.models.dual_encoder.config import SimilarityConfig
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.retrieval import faiss_index as faiss_index
from signatlas.retrieval.merge import Ranked
from signatlas.retrieval.rerank import Side, scores
from signatlas.retrieval.shard import Shard
from signatlas.retrieval.tokens import unit
from signatlas.similarity import Tokens

CANDIDATES = 200  # of each shard
SPREAD = 10  # so many times as many entries are chosen by their pooled vector, and narrowed by their segments
Accept = Callable[[str], bool]


class Query(NamedTuple):
    """One text or one video: its unit vector float32 [E] and its unit tokens float32 [T, E]."""

    side: Side
    vector: np.ndarray
    tokens: np.ndarray


class Found(NamedTuple):
    """The best of a shard; how many pairs were scored token by token, and how many by their segments before."""

    ranked: Ranked
    scored: int
    coarse: int = 0


def queries(model: DualEncoder, side: Side, encoded: Tokens) -> list[Query]:
    """Encoded rows as queries, padding left out."""
    vectors, mask, tokens = model.pooled(encoded).numpy(), encoded.mask.numpy(), encoded.tokens.numpy()
    return [Query(side, vectors[row], unit(tokens[row][mask[row]])) for row in range(len(mask))]


def rank(
    shard: Shard,
    query: Query,
    config: SimilarityConfig,
    k: int,
    candidates: int = CANDIDATES,
    accept: Accept | None = None,
) -> Found:
    """The ``k`` best entries of a shard among those whose id ``accept`` takes; equal scores by id ascending.

    The pooled vectors choose ``SPREAD`` times as many entries as ``candidates`` says, their segments (the same
    similarity over four means an entry) choose the candidates among them, at least ``k``, and these are scored token by
    token. Where the similarity is one of pooled vectors, they alone decide.
    """
    wanted = k if shard.tokens is None else max(candidates, k)
    spread = wanted if shard.segments is None else wanted * SPREAD
    positions, first = _first_stage(shard, query.vector, spread, accept)
    if shard.tokens is None or len(positions) == 0:
        return Found([(shard.ids[p], float(s)) for p, s in zip(positions, first, strict=True)], 0)
    positions = np.sort(positions)  # the memory map is read forwards, and equal scores come by id
    narrowed = 0
    if shard.segments is not None and len(positions) > wanted:
        narrowed = len(positions)
        coarse = scores(query.tokens, query.side, shard.segments.take(positions), config)
        positions = np.sort(positions[np.argsort(-coarse, kind="stable")[:wanted]])
    exact = scores(query.tokens, query.side, shard.tokens.take(positions), config)
    best = np.argsort(-exact, kind="stable")[:k]
    return Found([(shard.ids[positions[b]], float(exact[b])) for b in best], len(positions), narrowed)


def _first_stage(shard: Shard, vector: np.ndarray, wanted: int, accept: Accept | None) -> tuple[np.ndarray, np.ndarray]:
    """Positions and scores of the ``wanted`` accepted entries with the nearest pooled vectors."""
    asked = wanted
    while True:
        found, places = faiss_index.search(shard.index, vector[None], asked)
        valid = places[0] >= 0
        if accept is not None:
            valid[valid] = [accept(shard.ids[p]) for p in places[0][valid]]
        if valid.sum() >= wanted or asked >= len(shard.ids):
            break
        asked = min(4 * asked, len(shard.ids))
    chosen = np.flatnonzero(valid)[:wanted]
    return places[0][chosen], found[0][chosen]
