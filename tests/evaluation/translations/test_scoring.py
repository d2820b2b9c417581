"""Translations judged: who takes part, the controls, intervals that can be checked by hand, examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from signatlas.errors import ModelError, TextError
from signatlas.evaluation.translations import scoring as translations
from signatlas.evaluation.translations.scoring import FREQUENT, MODEL, NEAREST, TranslationSet
from signatlas.metrics import translation as metrics

ASKED = TranslationSet(
    "de",
    [f"clip {n}" for n in range(6)],
    ["a b c d e", "f g h i j", "a b c x y", "Regen, morgen.", "k l m n", "o p q r s"],
    [f"train {n}" for n in range(4)],
    ["regen morgen", "a b c d e", "a b c d e", "u v w"],
    1,
)
TOLD = ["a b c d e", "f g h i", "", "regen morgen", "k l m n", "x x x x x x x x x x"]


def judged(**others: list[str]) -> translations.Judged:
    return translations.judged(ASKED, {MODEL: TOLD, **others})


def row(id: str, split: str, text: str | None, glosses: int = 3) -> dict[str, Any]:
    texts = [{"language": "de", "text": text}] if text is not None else []
    return {"id": id, "split": split, "texts": texts, "glosses": ["X"] * glosses}


ROWS = [row("b", "train", "eins"), row("a", "train", "zwei"), row("c", "train", "drei", 9), row("d", "test", "vier"),
        row("e", "test", None), row("f", "test", "fünf", 9), row("g", "test", " ")]  # fmt: skip


def test_clips_without_a_text_or_with_many_glosses_are_left_out_and_counted() -> None:
    found = translations.translation_set(ROWS, "test", "de", "here")
    assert (found.ids, found.references, found.left_out) == (["d", "f"], ["vier", "fünf"], 2)
    assert found.train_texts == ["zwei", "eins", "drei"]  # by id
    found = translations.translation_set(ROWS, "test", "DE", "here", max_glosses=8, limit=1)
    assert (found.ids, found.train_ids, found.left_out, found.language) == (["d"], ["a"], 3, "de")


@pytest.mark.parametrize(
    ("rows", "language", "why"),
    [
        (ROWS, "fr", "here has no texts in language 'fr': there are de; the model writes 'fr'"),
        ([row("x", "test", None)], "de", "here has no texts to compare translations with"),
        (ROWS[:3], "de", "no clip of split test has a text in 'de'"),
    ],
)
def test_a_set_without_references_is_one_line(rows: list[dict[str, Any]], language: str, why: str) -> None:
    with pytest.raises(TextError) as error:
        translations.translation_set(rows, "test", language, "here")
    assert why in str(error.value) and "\n" not in str(error.value)


def test_seen_texts_are_those_of_training_but_for_case_and_punctuation() -> None:
    assert ASKED.seen().tolist() == [True, False, False, True, False, False]


def test_the_most_frequent_text_is_the_first_among_equals() -> None:
    assert translations.most_frequent(ASKED.train_texts) == ("a b c d e", 2)
    assert translations.most_frequent(["b", "a", "a", "b"]) == ("b", 2)


def test_the_nearest_clip_is_by_angle_and_the_first_among_equals() -> None:
    gallery = np.array([[0, 1], [2, 0], [1, 0], [1, 1]], np.float32)
    found, cosine = translations.nearest(np.array([[5, 0], [0, -1], [3, 3.1]], np.float32), gallery)
    assert found.tolist() == [1, 1, 3]
    assert cosine == pytest.approx([1, 0, 1], abs=1e-3)
    assert translations.nearest(gallery, gallery, [0, 1, None, 3])[0].tolist() == [3, 2, 1, 0], "not itself"
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(2100, 8)), rng.normal(size=(50, 8))
    gallery[40] = gallery[3]
    found, _ = translations.nearest(queries, gallery)
    angles = queries @ (gallery / np.linalg.norm(gallery, axis=1, keepdims=True)).T
    assert (found == angles.argmax(1)).mean() > 0.999 and 40 not in found and 3 in found
    with pytest.raises(ModelError, match="1 clips have token vectors that are not finite"):
        translations.nearest(np.full((1, 2), np.nan), np.ones((1, 2)))


def test_results_are_those_of_the_metrics_on_each_part() -> None:
    found = judged(**{FREQUENT: ["a b c d e"] * 6})
    by_key = {(r["system"], r["subset"]): r for r in found.results()}
    assert {subset for _, subset in by_key} == {"all", "new", "seen"}
    for subset, rows in (("new", [1, 2, 4, 5]), ("seen", [0, 3]), ("all", range(6))):
        expected = metrics.score([TOLD[i] for i in rows], [ASKED.references[i] for i in rows], "de")
        assert by_key[MODEL, subset]["clips"] == len(rows)
        for name in metrics.FIGURES:
            assert by_key[MODEL, subset][name] == pytest.approx(expected[name])
    assert by_key[FREQUENT, "all"]["ROUGE-L"] < by_key[MODEL, "all"]["ROUGE-L"]


def test_how_texts_are_written_is_told() -> None:
    found = judged().described()
    assert found["verbatim"] == pytest.approx(2 / 6)  # the first and the fourth
    assert found["empty"] == pytest.approx(1 / 6)
    assert (found["distinct"], found["distinct_references"]) == (6, 6)
    # 13a cuts off comma and stop: the fourth reference has four tokens.
    assert found["length_ratio"] == pytest.approx((1 + 4 / 5 + 0 + 2 / 4 + 1 + 2) / 6)


def test_intervals_are_paired_and_hold_their_level() -> None:
    rng = np.random.default_rng(1)
    words = list("abcdefghijklmnop")
    references = [" ".join(rng.choice(words, 8)) for _ in range(80)]
    worse = [" ".join(w if rng.random() < 0.6 else "z" for w in text.split()) for text in references]
    better = [" ".join(w if rng.random() < 0.8 else "z" for w in text.split()) for text in references]
    asked = TranslationSet("de", [str(n) for n in range(80)], references, ["t"], ["a"], 0)
    found = translations.judged(asked, {MODEL: better, NEAREST: worse, "same": better})
    told = translations.bootstrap(found, samples=300, seed=3)
    again = translations.bootstrap(found, samples=300, seed=3)
    assert told == again
    for figure in translations.TESTED:
        low, high = told["intervals"][MODEL][figure]
        observed = next(r for r in found.results() if (r["system"], r["subset"]) == (MODEL, "all"))[figure]
        assert low < observed < high
        above = told["differences"][NEAREST][figure]
        assert above["beats"] and above["share"] == 0 and above["interval"][0] > 0
        # The same texts are the same in every resample: not better, and no spread at all.
        same = told["differences"]["same"][figure]
        assert (same["difference"], same["interval"], same["share"], same["beats"]) == (0, (0, 0), 1, False)
    reverse = translations.bootstrap(translations.judged(asked, {MODEL: worse, "better": better}), samples=300)
    assert not reverse["differences"]["better"]["BLEU-4"]["beats"]


def test_resampled_rouge_has_the_mean_and_the_deviation_of_the_mean() -> None:
    values = np.random.default_rng(2).uniform(0, 100, 400)
    counts = np.tile([5, 5, 3, 2, 1, 1, 5, 4, 3, 2], (400, 1))
    drawn = translations.resampled({"x": counts}, {"x": values}, samples=800, seed=0)["x"]
    assert drawn[:, 1].mean() == pytest.approx(values.mean(), abs=0.3)
    assert drawn[:, 1].std() == pytest.approx(values.std() / 20, rel=0.1)
    assert np.ptp(drawn[:, 0]) == pytest.approx(0, abs=1e-9)  # equal sentences: one BLEU whatever is drawn


def test_examples_are_best_worst_and_random_and_no_pair_twice() -> None:
    asked = TranslationSet("de", list("123456"), ["a b", "a b", "c d", "e f", "g h", "i j"], ["t"], ["a"], 0)
    found = translations.judged(asked, {MODEL: ["a b", "a b", "c x", "e f", "z z", ""]})
    shown = translations.examples(found, each=2)
    assert shown["best"] == [0, 3]
    assert shown["worst"] == [5, 4]
    assert len(shown["random"]) == 1 and shown["random"] == [2]  # all that is left, the second "a b" being known
