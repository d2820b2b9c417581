"""Ragged scores equal the definition of the fine-grained similarity, for any set of candidates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from signatlas.models.dual_encoder.config import SimilarityConfig
from signatlas.retrieval.tokens import TokenTable, unit
from signatlas.retrieval.two_stage import Side, scores
from signatlas.similarity.reference import fine_grained


def table(lengths: list[int], seed: int = 0) -> TokenTable:
    tokens = unit(np.random.default_rng(seed).normal(0, 1, (sum(lengths), 8))).astype(np.float16)
    return TokenTable(tokens, np.cumsum([0, *lengths]))


def reference_scores(query: np.ndarray, side: Side, candidates: TokenTable, config: SimilarityConfig) -> np.ndarray:
    """The reference in float64, padded."""
    lengths = np.diff(candidates.offsets)
    padded = torch.zeros(len(lengths), int(lengths.max()), query.shape[1], dtype=torch.float64)
    mask = torch.zeros(padded.shape[:2], dtype=torch.bool)
    for row, (start, length) in enumerate(zip(candidates.offsets, lengths, strict=False)):
        tokens = candidates.tokens[start : start + length].astype(np.float64)
        padded[row, :length] = torch.from_numpy(tokens / np.linalg.norm(tokens, axis=1, keepdims=True))
        mask[row, :length] = True
    query_tokens, full = torch.from_numpy(query.astype(np.float64))[None], torch.ones(1, len(query), dtype=torch.bool)
    pairs = (padded, query_tokens, mask, full) if side == "text" else (query_tokens, padded, full, mask)
    both = fine_grained(*pairs, tau=config.tau, aggregation=config.aggregation, padding="masked")
    return (config.beta * both[0] + (1 - config.beta) * both[1]).flatten().numpy()


@pytest.mark.parametrize("side", ["text", "video"])
@pytest.mark.parametrize("aggregation", ["mean", "max", "softmax"])
@pytest.mark.parametrize("tau", [7e-4, 7e-3, 7e-2, 7e-1])
def test_scores_equal_the_definition(side: Side, aggregation: str, tau: float) -> None:
    config = SimilarityConfig.model_validate({"aggregation": aggregation, "tau": tau, "beta": 0.3})
    candidates = table([3, 1, 20, 7, 1])
    query = unit(np.random.default_rng(9).normal(0, 1, (5, 8)))
    # tau divides the float32 rounding of S: the steepest softmax needs a larger tolerance.
    atol = 2e-6 if tau > 1e-3 else 1e-4
    np.testing.assert_allclose(
        scores(query, side, candidates, config), reference_scores(query, side, candidates, config), atol=atol
    )


def test_a_score_depends_only_on_the_pair() -> None:
    """To the last bit, so that any number of shards gives the same results."""
    config, candidates = SimilarityConfig(), table([5 + n % 13 for n in range(300)])
    query = unit(np.random.default_rng(3).normal(0, 1, (11, 8)))
    together = scores(query, "text", candidates, config)
    rng = np.random.default_rng(1)
    for size in (1, 2, 7, 50, 199):
        positions = np.sort(rng.choice(300, size, replace=False))
        assert (scores(query, "text", candidates.take(positions), config) == together[positions]).all()


def test_segments_are_means_of_consecutive_tokens() -> None:
    whole = table([1, 3, 4, 9, 64])
    segments = whole.segments()
    assert np.diff(segments.offsets).tolist() == [1, 3, 4, 4, 4]
    for entry, parts in ((3, [(0, 3), (3, 5), (5, 7), (7, 9)]), (4, [(0, 16), (16, 32), (32, 48), (48, 64)])):
        tokens = whole.tokens[whole.offsets[entry] : whole.offsets[entry + 1]].astype(np.float32)
        means = unit(np.stack([tokens[start:end].mean(0) for start, end in parts]))
        stored = segments.tokens[segments.offsets[entry] : segments.offsets[entry + 1]]
        np.testing.assert_allclose(stored.astype(np.float32), means, atol=1e-3)
