"""Scored translations: items, controls, intervals, examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from signatlas.errors import ModelError, TextError
from signatlas.evaluation.translations import scoring
from signatlas.evaluation.translations.scoring import FREQUENT, MODEL, NEAREST, TranslationItems
from signatlas.metrics import translation as metrics

ITEMS = TranslationItems(
    "de",
    [f"clip {n}" for n in range(6)],
    ["a b c d e", "f g h i j", "a b c x y", "Regen, morgen.", "k l m n", "o p q r s"],
    [f"train {n}" for n in range(4)],
    ["regen morgen", "a b c d e", "a b c d e", "u v w"],
    1,
)
HYPOTHESES = ["a b c d e", "f g h i", "", "regen morgen", "k l m n", "x x x x x x x x x x"]


def scored(**others: list[str]) -> scoring.ScoredTranslations:
    return scoring.score_translations(ITEMS, {MODEL: HYPOTHESES, **others})


def row(id: str, split: str, text: str | None, glosses: int = 3) -> dict[str, Any]:
    texts = [{"language": "de", "text": text}] if text is not None else []
    return {"id": id, "split": split, "texts": texts, "glosses": ["X"] * glosses}


ROWS = [row("b", "train", "eins"), row("a", "train", "zwei"), row("c", "train", "drei", 9), row("d", "test", "vier"),
        row("e", "test", None), row("f", "test", "fünf", 9), row("g", "test", " ")]  # fmt: skip


def test_clips_without_a_text_or_with_many_glosses_are_left_out_and_counted() -> None:
    items = scoring.collect_items(ROWS, "test", "de", "here")
    assert (items.ids, items.references, items.left_out) == (["d", "f"], ["vier", "fünf"], 2)
    assert items.train_texts == ["zwei", "eins", "drei"]  # by id
    items = scoring.collect_items(ROWS, "test", "DE", "here", max_glosses=8, limit=1)
    assert (items.ids, items.train_ids, items.left_out, items.language) == (["d"], ["a"], 3, "de")


@pytest.mark.parametrize(
    ("rows", "language", "message"),
    [
        (ROWS, "fr", "here has no texts in language 'fr': there are de; the model translates into 'fr'"),
        ([row("x", "test", None)], "de", "here has no texts to compare translations with"),
        (ROWS[:3], "de", "no clip of split test has a text in 'de'"),
    ],
)
def test_no_references_are_one_line(rows: list[dict[str, Any]], language: str, message: str) -> None:
    with pytest.raises(TextError) as error:
        scoring.collect_items(rows, "test", language, "here")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_seen_texts_ignore_case_and_punctuation() -> None:
    assert ITEMS.seen().tolist() == [True, False, False, True, False, False]


def test_the_most_frequent_text_is_the_first_among_equals() -> None:
    assert scoring.most_frequent(ITEMS.train_texts) == ("a b c d e", 2)
    assert scoring.most_frequent(["b", "a", "a", "b"]) == ("b", 2)


def test_nearest_uses_cosine_and_takes_the_first_among_equals() -> None:
    gallery = np.array([[0, 1], [2, 0], [1, 0], [1, 1]], np.float32)
    rows, cosine = scoring.nearest(np.array([[5, 0], [0, -1], [3, 3.1]], np.float32), gallery)
    assert rows.tolist() == [1, 1, 3]
    assert cosine == pytest.approx([1, 0, 1], abs=1e-3)
    assert scoring.nearest(gallery, gallery, [0, 1, None, 3])[0].tolist() == [3, 2, 1, 0], "not itself"
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(2100, 8)), rng.normal(size=(50, 8))
    gallery[40] = gallery[3]
    rows, _ = scoring.nearest(queries, gallery)
    angles = queries @ (gallery / np.linalg.norm(gallery, axis=1, keepdims=True)).T
    assert (rows == angles.argmax(1)).mean() > 0.999 and 40 not in rows and 3 in rows
    with pytest.raises(ModelError, match="1 clips have token vectors that are not finite"):
        scoring.nearest(np.full((1, 2), np.nan), np.ones((1, 2)))


def test_results_equal_the_metrics_on_each_subset() -> None:
    both = scored(**{FREQUENT: ["a b c d e"] * 6})
    by_key = {(r["system"], r["subset"]): r for r in both.results()}
    assert {subset for _, subset in by_key} == {"all", "new", "seen"}
    for subset, rows in (("new", [1, 2, 4, 5]), ("seen", [0, 3]), ("all", range(6))):
        expected = metrics.score([HYPOTHESES[i] for i in rows], [ITEMS.references[i] for i in rows], "de")
        assert by_key[MODEL, subset]["clips"] == len(rows)
        for name in metrics.METRICS:
            assert by_key[MODEL, subset][name] == pytest.approx(expected[name])
    assert by_key[FREQUENT, "all"]["ROUGE-L"] < by_key[MODEL, "all"]["ROUGE-L"]


def test_text_statistics() -> None:
    statistics = scored().text_statistics()
    assert statistics["verbatim"] == pytest.approx(2 / 6)  # the first and the fourth
    assert statistics["empty"] == pytest.approx(1 / 6)
    assert (statistics["distinct"], statistics["distinct_references"]) == (6, 6)
    # 13a cuts off comma and stop: the fourth reference has four tokens.
    assert statistics["length_ratio"] == pytest.approx((1 + 4 / 5 + 0 + 2 / 4 + 1 + 2) / 6)


def test_intervals_are_paired_and_contain_the_observed_value() -> None:
    rng = np.random.default_rng(1)
    words = list("abcdefghijklmnop")
    references = [" ".join(rng.choice(words, 8)) for _ in range(80)]
    worse = [" ".join(w if rng.random() < 0.6 else "z" for w in text.split()) for text in references]
    better = [" ".join(w if rng.random() < 0.8 else "z" for w in text.split()) for text in references]
    items = TranslationItems("de", [str(n) for n in range(80)], references, ["t"], ["a"], 0)
    translations = scoring.score_translations(items, {MODEL: better, NEAREST: worse, "same": better})
    result = scoring.bootstrap(translations, samples=300, seed=3)
    again = scoring.bootstrap(translations, samples=300, seed=3)
    assert result == again
    for metric in scoring.TESTED:
        low, high = result["intervals"][MODEL][metric]
        observed = next(r for r in translations.results() if (r["system"], r["subset"]) == (MODEL, "all"))[metric]
        assert low < observed < high
        above = result["differences"][NEAREST][metric]
        assert above["beats"] and above["p"] == pytest.approx(1 / 301) and above["interval"][0] > 0
        # The same texts are the same in every resample: not better, and no spread at all.
        same_texts = result["differences"]["same"][metric]
        assert same_texts == {"difference": 0, "interval": (0, 0), "p": 1, "beats": False}
    reverse = scoring.bootstrap(scoring.score_translations(items, {MODEL: worse, "better": better}), samples=300)
    assert not reverse["differences"]["better"]["BLEU-4"]["beats"]


def test_resampled_rouge_has_the_mean_and_the_deviation_of_the_mean() -> None:
    values = np.random.default_rng(2).uniform(0, 100, 400)
    counts = np.tile([5, 5, 3, 2, 1, 1, 5, 4, 3, 2], (400, 1))
    resampled = scoring.resample({"x": counts}, {"x": values}, samples=800, seed=0)["x"]
    assert resampled[:, 1].mean() == pytest.approx(values.mean(), abs=0.3)
    assert resampled[:, 1].std() == pytest.approx(values.std() / 20, rel=0.1)
    assert np.ptp(resampled[:, 0]) == pytest.approx(0, abs=1e-9)  # equal sentences: one BLEU whatever is resampled


def test_examples_are_best_worst_and_random_without_repeats() -> None:
    items = TranslationItems("de", list("123456"), ["a b", "a b", "c d", "e f", "g h", "i j"], ["t"], ["a"], 0)
    translations = scoring.score_translations(items, {MODEL: ["a b", "a b", "c x", "e f", "z z", ""]})
    rows = scoring.examples(translations, each=2)
    assert rows["best"] == [0, 3]
    assert rows["worst"] == [5, 4]
    assert len(rows["random"]) == 1 and rows["random"] == [2]  # all that is left, the second "a b" being known
