"""Comparisons of saved sentence evaluations: seeds, intervals, tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from signatlas.errors import UserError
from signatlas.evaluation.sentences.comparison import SavedEvaluation, compare, tables
from signatlas.evaluation.significance import holm, paired_randomization, percentile_interval, resample_means

QUERIES = 60


def saved(run: str, recall: float, *, seed: int | None = None, queries: int = QUERIES) -> SavedEvaluation:
    """Return an evaluation with random ranks, of which a share ``recall`` is 1."""
    rng = np.random.default_rng(len(run) + int(1000 * recall) + (seed or 0))

    def rank() -> int:
        return 1 if rng.random() < recall else int(rng.integers(2, 30))

    ranks = {
        ("de", texts, direction): {f"q{q}": rank() for q in range(queries)}
        for texts in ("strict", "merged")
        for direction in ("T2V", "V2T")
    }  # fmt: skip
    results = [
        {"language": key[0], "texts": key[1], "direction": key[2], "subset": "all", "metrics": _metrics(by_query)}
        for key, by_query in ranks.items()
    ]
    name = run if seed is None else f"{run}_{seed}"
    report: dict[str, Any] = {
        "languages": ["de"], "split": "test", "corpus": {"name": "c", "synthetic": True},
        "model": {"record": {"recipe": name, "seed": seed}}, "results": results,
    }  # fmt: skip
    return SavedEvaluation(name, report, ranks)


def _metrics(ranks: dict[str, int]) -> dict[str, float]:
    values = np.array(list(ranks.values()))
    return {**{f"R@{k}": float((values <= k).mean()) for k in (1, 5, 10)}, "MedR": float(np.median(values))}


def hits(one: SavedEvaluation) -> np.ndarray:
    return np.array([rank <= 1 for rank in one.ranks["de", "strict", "T2V"].values()], float)


def width(row: dict[str, Any]) -> float:
    low, high = row["T2V"]["interval"]
    return float(high - low)


def test_each_evaluation_is_tested_against_the_first_over_the_same_queries() -> None:
    first, second, other = saved("a", 0.3), saved("b", 0.7), saved("c", 0.5, queries=40)
    rows = compare([first, second, other])
    difference = rows[1]["T2V"]["difference"]
    assert difference["p"] == paired_randomization(hits(first), hits(second))
    assert difference["observed"] == pytest.approx(hits(second).mean() - hits(first).mean())
    resampled = resample_means(np.stack([hits(first), hits(second)]))
    assert difference["interval"] == percentile_interval(resampled[1] - resampled[0])
    assert rows[0]["T2V"]["difference"] is None and rows[2]["T2V"]["difference"] is None
    p_values = [rows[1][direction]["difference"]["p"] for direction in ("T2V", "V2T")]
    assert [rows[1][direction]["difference"]["p_holm"] for direction in ("T2V", "V2T")] == holm(p_values)


def test_with_one_seed_the_two_level_interval_is_that_over_queries() -> None:
    pair = [saved("a", 0.3, seed=0), saved("b", 0.6, seed=0)]
    single, mean = compare(pair), compare(pair, mean=True)
    assert [row["run"] for row in mean] == ["a (1)", "b (1)"]
    for direction in ("T2V", "V2T"):
        assert mean[1][direction]["interval"] == single[1][direction]["interval"]
        assert mean[1][direction]["difference"]["interval"] == single[1][direction]["difference"]["interval"]


def test_seeds_that_differ_widen_the_interval_and_draws_depend_on_the_seed_alone() -> None:
    alike = [saved("b", 0.5, seed=seed) for seed in (0, 1, 2)]
    spread = [saved("b", recall, seed=seed) for seed, recall in enumerate((0.1, 0.5, 0.9))]
    first = saved("a", 0.5, seed=0)
    narrow, wide = compare([first, *alike], mean=True), compare([first, *spread], mean=True)
    assert width(wide[1]) > 2 * width(narrow[1])
    assert wide[1]["T2V"]["difference"]["interval"][0] < 0 < wide[1]["T2V"]["difference"]["interval"][1]
    assert wide == compare([first, *spread], mean=True) and wide != compare([first, *spread], seed=1, mean=True)
    assert wide[1]["T2V"]["range"] == (
        min(h.mean() for h in map(hits, spread)),
        max(h.mean() for h in map(hits, spread)),
    )
    *_, view = tables(wide, "R@1")
    assert view.rows[0][0] == "b (3) de T2V" and view.rows[0][-1] == "undetermined"


def test_seeds_on_other_queries_have_no_interval() -> None:
    rows = compare([saved("a", 0.5), saved("b", 0.5, seed=0), saved("b", 0.5, seed=1, queries=40)], mean=True)
    assert rows[1]["T2V"]["interval"] is None and rows[1]["T2V"]["difference"] is None
    assert {len(row) for row in tables(rows, "R@1")[0].rows} == {len(tables(rows, "R@1")[0].header)}


def test_an_unknown_measure_raises() -> None:
    with pytest.raises(UserError, match="unknown --by 'mAP'"):
        compare([saved("a", 0.5)], "mAP")
