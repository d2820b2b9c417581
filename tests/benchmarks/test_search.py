"""The search benchmark: within-gloss deviation, synthetic entries, exhaustive scoring."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.search import (
    Gallery,
    add_synthetic_entries,
    curves,
    exhaustive,
    largest_cosine,
    sign_numbers,
    within_gloss_deviation,
)
from signatlas.models.dual_encoder.config import DualEncoderConfig
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.retrieval.tokens import TokenTable, unit
from signatlas.retrieval.two_stage import Query, scores


def gallery(count: int = 30, width: int = 16) -> Gallery:
    rng = np.random.default_rng(0)
    lengths = [4 + n % 5 for n in range(count)]
    tokens = TokenTable(unit(rng.normal(0, 1, (sum(lengths), width))).astype(np.float16), np.cumsum([0, *lengths]))
    return Gallery(means(tokens), tokens)


def means(tokens: TokenTable) -> np.ndarray:
    rows = np.split(tokens.tokens.astype(np.float32), tokens.offsets[1:-1])
    return unit(np.stack([unit(row).mean(0) for row in rows]))


def test_the_deviation_is_measured_within_glosses() -> None:
    rng = np.random.default_rng(1)
    middles, deviation = rng.normal(0, 5, (3, 2)), np.array([0.5, 0.1])
    tokens = (middles[np.arange(3000) % 3] + deviation * rng.normal(0, 1, (3000, 2))).astype(np.float16)
    glosses = [[("a", "b", None)[n % 3] for n in range(1000)], [("a", "b", None)[n % 3] for n in range(1000, 3000)]]
    measured = within_gloss_deviation(TokenTable(tokens, np.array([0, 1000, 3000])), glosses)
    np.testing.assert_allclose(measured, deviation, rtol=0.05)
    with pytest.raises(SystemExit, match="no gloss has two tokens"):
        within_gloss_deviation(TokenTable(tokens[:2], np.array([0, 2])), [["a", None]])


def test_synthetic_entries_keep_their_distance_and_share_noise_within_a_sign() -> None:
    real = gallery()
    signs = [sign_numbers(["a"] * 2 + [None] + ["b"] * 9)[: int(n)] for n in np.diff(real.tokens.offsets)]
    assert sign_numbers(["a", "a", None, "b", "b", "a"]).tolist() == [0, 0, 1, 2, 2, 3]
    limit = largest_cosine(real.vectors)
    grown_gallery, rejected = add_synthetic_entries(real, signs, 400, np.full(16, 0.2, np.float32), limit, seed=0)
    assert len(grown_gallery.vectors) == len(grown_gallery.tokens) == 400 and rejected > 0
    assert largest_cosine(grown_gallery.vectors) <= limit + 1e-6
    np.testing.assert_allclose(grown_gallery.vectors, means(grown_gallery.tokens), atol=2e-3)
    again, _ = add_synthetic_entries(real, signs, 400, np.full(16, 0.2, np.float32), limit, seed=0)
    assert (again.tokens.tokens == grown_gallery.tokens.tokens).all()
    # Without noise, a synthetic entry has tokens of one clip only.
    plain, _ = add_synthetic_entries(real, signs, 60, np.zeros(16, np.float32), 1.1, seed=0)
    real_tokens = {token.tobytes() for token in unit(real.tokens.tokens.astype(np.float32)).astype(np.float16)}
    assert {token.tobytes() for token in plain.tokens.tokens} - {t.tobytes() for t in real.tokens.tokens} <= real_tokens


def test_exhaustive_scoring_returns_the_best() -> None:
    config = DualEncoderConfig.model_validate({"embedding": 16})
    model = DualEncoder.build(config, ["word"], 8)
    real = gallery(1200)  # more than one block
    rng = np.random.default_rng(2)
    queries = [Query("text", np.zeros(16, np.float32), unit(rng.normal(0, 1, (3 + n, 16)))) for n in range(4)]
    best, _ = exhaustive(model, queries, real.tokens)
    for query, row in zip(queries, best, strict=True):
        exact = scores(query.tokens, "text", real.tokens, config.similarity)
        np.testing.assert_allclose(exact[row], np.sort(exact)[::-1][:10], atol=2e-6)


def test_both_designs_are_measured_with_all_their_products() -> None:
    config = DualEncoderConfig.model_validate({"embedding": 16})
    model = DualEncoder.build(config, ["word"], 8)
    real = gallery(300)
    rng = np.random.default_rng(3)
    queries = [Query("text", unit(rng.normal(0, 1, (1, 16)))[0], unit(rng.normal(0, 1, (3, 16)))) for _ in range(4)]
    expected, _ = exhaustive(model, queries, real.tokens)
    designs = curves(model, queries, real, expected, [10, 40, 300], threads=1)
    all_tokens = len(real.tokens.tokens)
    for design in ("segments", "clusters"):
        few, some, *_ = rows = designs[design]["curve"]
        assert [row["candidates"] for row in rows[:2]] == [10, 40] and rows[-1]["recall@10"] == 1
        assert (few["pairs"], few["coarse_pairs"]) == (10, 100) and (some["pairs"], some["coarse_pairs"]) == (40, 300)
        assert few["recall@10"] < some["recall@10"] and designs[design]["anonymous_mib"] > 0
        assert designs[design]["token_bytes"] >= 2 * 16 * all_tokens / 300
    # Ten candidates for each of 40 are all entries: no stage precedes the clusters, which are all tokens here.
    fewest, most = (all_tokens / (all_tokens + 40 * length) for length in (8, 4))
    assert fewest - 0.1 <= designs["clusters"]["curve"][1]["fewer_products"] <= most + 0.1
