"""Ragged scores equal the definition of the fine-grained similarity, whatever surrounds a candidate."""

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


def defined(query: np.ndarray, side: Side, candidates: TokenTable, config: SimilarityConfig) -> np.ndarray:
    """The reference in float64, padded."""
    lengths = np.diff(candidates.offsets)
    padded = torch.zeros(len(lengths), int(lengths.max()), query.shape[1], dtype=torch.float64)
    mask = torch.zeros(padded.shape[:2], dtype=torch.bool)
    for row, (start, length) in enumerate(zip(candidates.offsets, lengths, strict=False)):
        tokens = candidates.tokens[start : start + length].astype(np.float64)
        padded[row, :length] = torch.from_numpy(tokens / np.linalg.norm(tokens, axis=1, keepdims=True))
        mask[row, :length] = True
    asked, all_of_it = torch.from_numpy(query.astype(np.float64))[None], torch.ones(1, len(query), dtype=torch.bool)
    pairs = (padded, asked, mask, all_of_it) if side == "text" else (asked, padded, all_of_it, mask)
    both = fine_grained(*pairs, tau=config.tau, aggregation=config.aggregation, padding="masked")
    return (config.beta * both[0] + (1 - config.beta) * both[1]).flatten().numpy()


@pytest.mark.parametrize("side", ["text", "video"])
@pytest.mark.parametrize("aggregation", ["mean", "max", "softmax"])
@pytest.mark.parametrize("tau", [7e-4, 7e-3, 7e-2, 7e-1])
def test_scores_are_those_of_the_definition(side: Side, aggregation: str, tau: float) -> None:
    config = SimilarityConfig.model_validate({"aggregation": aggregation, "tau": tau, "beta": 0.3})
    candidates = table([3, 1, 20, 7, 1])
    query = unit(np.random.default_rng(9).normal(0, 1, (5, 8)))
    # tau divides the rounding of S in float32, so the steepest softmax is allowed its share.
    atol = 2e-6 if tau > 1e-3 else 1e-4
    np.testing.assert_allclose(
        scores(query, side, candidates, config), defined(query, side, candidates, config), atol=atol
    )


def test_a_score_depends_on_the_pair_alone() -> None:
    """To the last bit, so that any division into shards gives the same answer."""
    config, candidates = SimilarityConfig(), table([5 + n % 13 for n in range(300)])
    query = unit(np.random.default_rng(3).normal(0, 1, (11, 8)))
    together = scores(query, "text", candidates, config)
    rng = np.random.default_rng(1)
    for size in (1, 2, 7, 50, 199):
        chosen = np.sort(rng.choice(300, size, replace=False))
        assert (scores(query, "text", candidates.take(chosen), config) == together[chosen]).all()


def test_segments_are_means_of_parts_that_follow_one_another() -> None:
    whole = table([1, 3, 4, 9, 64])
    segments = whole.segments()
    assert np.diff(segments.offsets).tolist() == [1, 3, 4, 4, 4]
    for entry, parts in ((3, [(0, 3), (3, 5), (5, 7), (7, 9)]), (4, [(0, 16), (16, 32), (32, 48), (48, 64)])):
        own = whole.tokens[whole.offsets[entry] : whole.offsets[entry + 1]].astype(np.float32)
        means = unit(np.stack([own[start:end].mean(0) for start, end in parts]))
        found = segments.tokens[segments.offsets[entry] : segments.offsets[entry + 1]]
        np.testing.assert_allclose(found.astype(np.float32), means, atol=1e-3)
