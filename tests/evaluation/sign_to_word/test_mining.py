"""A mined dictionary on hand-made pairs: which windows, how pure, beside chance."""

from __future__ import annotations

import numpy as np
import pytest

from signatlas.evaluation.sign_to_word.map import sign_to_word
from signatlas.evaluation.sign_to_word.mining import Mined, Word, commonest, figures, named
from signatlas.evaluation.sign_to_word.pairs import Pair, gloss_at

DIRECTIONS = np.eye(4, dtype=np.float32)


def pair(number: int, signed: list[int], said: list[str], places: list[int], glosses: list[str] | None) -> Pair:
    """A clip whose n-th of ten-frame windows points in direction ``signed[n]``, and words in ``places``."""
    clips = DIRECTIONS[signed]
    row = {
        "id": f"c/{number}",
        "glosses": glosses,
        "gloss_spans": None if glosses is None else [[10 * n, 10 * n + 10] for n in range(len(glosses))],
    }
    spans = [(word, [place]) for place, word in enumerate(said)]
    frames = 10 * np.arange(len(signed)) + 4.5
    return Pair(row, " ".join(said), sign_to_word(clips, DIRECTIONS[places], spans, 0.07), clips, frames)


def mined(glosses: bool = True, **options: int) -> Mined:
    """Five clips: 'Regen' is signed REGEN, 'und' has no sign of its own and points nowhere in particular."""
    made = Mined(**options)
    for number in range(5):
        order = [0, 1, 2] if number % 2 else [2, 0, 1]
        names = [["REGEN", "NORD", "WIND"][n] for n in order]
        said = ["Regen", "und", "N\u00f6rd", "!"] if number else ["regen", "und", "N\u00f6rd", "!"]
        made.add(pair(number, order, said, [0, 3, 1, 0], names if glosses else None))
    return made


def by_word(made: Mined) -> dict[str, Word]:
    return {word.word: word for word, _ in made.words()}


def test_windows_of_a_word_are_those_that_answer_best() -> None:
    found = by_word(mined(least=5))
    assert set(found) == {"Regen", "und", "N\u00f6rd"}  # punctuation is no word, spellings are one
    regen = found["Regen"]
    assert (regen.count, regen.score, regen.majority, regen.purity) == (5, 1.0, "REGEN", 1.0)
    assert [(w.id, w.frame) for w in regen.windows] == [
        ("c/0", 14.5), ("c/1", 4.5), ("c/2", 14.5), ("c/3", 4.5), ("c/4", 14.5)
    ]  # fmt: skip
    assert regen.named == 1.0 and regen.named_chance == pytest.approx(1 / 3)
    assert 1 / 3 < (regen.chance or 0) < 0.65  # the commonest of five random windows is more than a third of them
    assert found["und"].score == 0.0 and found["N\u00f6rd"].named is None


def test_limits_hold_and_ties_go_by_id() -> None:
    assert by_word(mined(least=6)) == {}
    few = by_word(mined(least=5, most=2))["Regen"]
    assert [w.id for w in few.windows] == ["c/0", "c/1"] and few.count == 5
    tokens = {word.word: tokens for word, tokens in mined(most=3).words()}["Regen"]
    np.testing.assert_array_equal(tokens, DIRECTIONS[[0, 0, 0]])


def test_without_true_spans_nothing_is_judged() -> None:
    word = by_word(mined(glosses=False))["Regen"]
    assert (word.majority, word.purity, word.chance, word.named) == (None, None, None, None)
    assert figures([word]) == {"words": 1, "windows": 5, "purity": None, "chance": None, "named_words": 0,
                               "named": None, "named_chance": None}  # fmt: skip


def test_the_same_seed_draws_the_same_chance() -> None:
    assert [w.chance for w, _ in mined().words(3)] == [w.chance for w, _ in mined().words(3)]
    assert [w.chance for w, _ in mined().words(3)] != [w.chance for w, _ in mined().words(4)]


def test_commonest_and_names() -> None:
    assert commonest(["a", None, "b", "b"]) == ("b", 0.5)
    assert commonest(["b", "a"]) == ("a", 0.5) and commonest([None]) == (None, 0.0)
    assert named("S\u00fcden", {"SUEDEN", "NORD"}) == "SUEDEN" and named("der", {"NORD"}) is None
    row = {"glosses": ["a", "b"], "gloss_spans": [[0, 5], [7, 9]]}
    assert [gloss_at(row, f) for f in (0, 4.5, 5, 7, 8.5, 9)] == ["a", "a", None, "b", "b", None]


def test_glosses_without_spans_are_no_spans() -> None:
    """As in RWTH-PHOENIX-2014T and CSL-Daily, which have glosses but not where they lie."""
    row = {"glosses": ["A", "B"], "gloss_spans": None}
    assert gloss_at(row, 3) is None
    assert gloss_at({"glosses": ["A", "B"], "gloss_spans": [[0, 2], [3, 5]]}, 3) == "B"
