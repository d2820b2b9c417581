"""The parts of the search benchmark: measured deviation, copies that keep their distance, exhaustive scoring."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.search import Gallery, closest, exhaustive, grown, numbered, within_gloss_deviation
from signatlas.models.dual_encoder.config import DualEncoderConfig
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.retrieval.rerank import scores
from signatlas.retrieval.tokens import TokenTable, unit
from signatlas.retrieval.two_stage import Query


def gallery(count: int = 30, width: int = 16) -> Gallery:
    rng = np.random.default_rng(0)
    lengths = [4 + n % 5 for n in range(count)]
    tokens = TokenTable(unit(rng.normal(0, 1, (sum(lengths), width))).astype(np.float16), np.cumsum([0, *lengths]))
    return Gallery(means(tokens), tokens)


def means(tokens: TokenTable) -> np.ndarray:
    rows = np.split(tokens.tokens.astype(np.float32), tokens.offsets[1:-1])
    return unit(np.stack([unit(row).mean(0) for row in rows]))


def test_the_deviation_is_that_within_glosses() -> None:
    rng = np.random.default_rng(1)
    middles, deviation = rng.normal(0, 5, (3, 2)), np.array([0.5, 0.1])
    tokens = (middles[np.arange(3000) % 3] + deviation * rng.normal(0, 1, (3000, 2))).astype(np.float16)
    glosses = [[("a", "b", None)[n % 3] for n in range(1000)], [("a", "b", None)[n % 3] for n in range(1000, 3000)]]
    found = within_gloss_deviation(TokenTable(tokens, np.array([0, 1000, 3000])), glosses)
    np.testing.assert_allclose(found, deviation, rtol=0.05)
    with pytest.raises(SystemExit, match="no gloss has two tokens"):
        within_gloss_deviation(TokenTable(tokens[:2], np.array([0, 2])), [["a", None]])


def test_copies_keep_their_distance_and_share_noise_within_a_sign() -> None:
    real = gallery()
    signs = [numbered(["a"] * 2 + [None] + ["b"] * 9)[: int(n)] for n in np.diff(real.tokens.offsets)]
    assert numbered(["a", "a", None, "b", "b", "a"]).tolist() == [0, 0, 1, 2, 2, 3]
    limit = closest(real.vectors)
    made, rejected = grown(real, signs, 400, np.full(16, 0.2, np.float32), limit, seed=0)
    assert len(made.vectors) == len(made.tokens) == 400 and rejected > 0
    assert closest(made.vectors) <= limit + 1e-6
    np.testing.assert_allclose(made.vectors, means(made.tokens), atol=2e-3)
    again, _ = grown(real, signs, 400, np.full(16, 0.2, np.float32), limit, seed=0)
    assert (again.tokens.tokens == made.tokens.tokens).all()
    # Without noise a copy has the tokens of one clip and no others.
    plain, _ = grown(real, signs, 60, np.zeros(16, np.float32), 1.1, seed=0)
    own = {token.tobytes() for token in unit(real.tokens.tokens.astype(np.float32)).astype(np.float16)}
    assert {token.tobytes() for token in plain.tokens.tokens} - {t.tobytes() for t in real.tokens.tokens} <= own


def test_exhaustive_scoring_finds_the_best() -> None:
    config = DualEncoderConfig.model_validate({"embedding": 16})
    model = DualEncoder.build(config, ["word"], 8)
    real = gallery(1200)  # more than a block
    rng = np.random.default_rng(2)
    asked = [Query("text", np.zeros(16, np.float32), unit(rng.normal(0, 1, (3 + n, 16)))) for n in range(4)]
    best, _ = exhaustive(model, asked, real.tokens)
    for query, row in zip(asked, best, strict=True):
        exact = scores(query.tokens, "text", real.tokens, config.similarity)
        np.testing.assert_allclose(exact[row], np.sort(exact)[::-1][:10], atol=2e-6)
