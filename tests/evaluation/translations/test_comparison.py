"""Comparisons of saved translation evaluations: seeds, intervals, tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from signatlas.evaluation.significance import bootstrap_p, percentile_interval
from signatlas.evaluation.translations.comparison import SavedEvaluation, compare, tables
from signatlas.evaluation.translations.scoring import MODEL, TESTED, resample
from signatlas.metrics import translation as metrics

WORDS = list("abcdefghijklmnop")
REFERENCES = [" ".join(np.random.default_rng(n).choice(WORDS, 8)) for n in range(40)]


def saved(run: str, accuracy: float, *, seed: int = 0, clips: int = 40) -> SavedEvaluation:
    """Return an evaluation whose texts have a share ``accuracy`` of the words of their references."""
    rng = np.random.default_rng(len(run) + int(1000 * accuracy) + seed)
    references = REFERENCES[:clips]
    hypotheses = [" ".join(w if rng.random() < accuracy else "z" for w in text.split()) for text in references]
    rows = [
        {"id": str(n), "reference": reference, "hypothesis": hypothesis}
        for n, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True))
    ]
    values = metrics.score(hypotheses, references, "de")
    report: dict[str, Any] = {
        "language": "de", "split": "test", "corpus": {"name": "c", "synthetic": True},
        "model": {"record": {"recipe": run, "seed": seed}},
        "results": [{"system": MODEL, "subset": "all", **{name: values[name] for name in metrics.METRICS}}],
    }  # fmt: skip
    return SavedEvaluation(f"{run}_{seed}", report, rows)


def over_clips(pair: list[SavedEvaluation], measure: str) -> np.ndarray:
    """Return the resampled differences of a paired bootstrap over clips, by scoring.resample."""
    counts, rouge = {}, {}
    for name, one in zip("ab", pair, strict=True):
        texts = [row["hypothesis"] for row in one.rows], [row["reference"] for row in one.rows]
        counts[name] = metrics.bleu_counts(*texts, "de")
        rouge[name] = metrics.sentence_scores(*texts, "de")["ROUGE-L"]
    resampled = resample(counts, rouge, samples=1000, seed=0)
    return np.asarray((resampled["b"] - resampled["a"])[:, TESTED.index(measure)])


@pytest.mark.parametrize("measure", TESTED)
def test_with_one_seed_the_two_level_bootstrap_is_that_over_clips(measure: str) -> None:
    pair = [saved("a", 0.6), saved("b", 0.7)]
    single, mean = compare(pair, measure), compare(pair, measure, mean=True)
    differences = over_clips(pair, measure)
    for rows in (single, mean):
        assert rows[1]["difference"]["interval"] == percentile_interval(differences)
        assert rows[1]["difference"]["p"] == bootstrap_p(differences)
    assert single[1]["interval"] == mean[1]["interval"]


def test_seeds_that_differ_widen_the_interval_and_draws_depend_on_the_seed_alone() -> None:
    first = saved("a", 0.6)
    alike = [saved("b", 0.6, seed=seed) for seed in (0, 1, 2)]
    spread = [saved("b", accuracy, seed=seed) for seed, accuracy in enumerate((0.4, 0.6, 0.9))]
    (_, narrow), (_, wide) = compare([first, *alike], mean=True), compare([first, *spread], mean=True)
    assert np.diff(wide["interval"]) > 2 * np.diff(narrow["interval"])
    assert wide["difference"]["interval"][0] < 0 < wide["difference"]["interval"][1] and wide["seeds"] == [0, 1, 2]
    again, other = compare([first, *spread], mean=True), compare([first, *spread], seed=1, mean=True)
    assert wide == again[1] and wide["interval"] != other[1]["interval"]
    *_, view = tables(again, "BLEU-4")
    assert view.rows[0][0] == "b (3)" and view.rows[0][-1] == "undetermined"


def test_evaluations_of_other_clips_have_an_interval_and_no_difference() -> None:
    rows = compare([saved("a", 0.6), saved("b", 0.6), saved("c", 0.6, clips=30)])
    assert rows[1]["difference"] is not None and rows[2]["difference"] is None
    assert rows[2]["interval"] == compare([saved("c", 0.6, clips=30)])[0]["interval"]
