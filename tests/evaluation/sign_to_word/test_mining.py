"""A mined dictionary on hand-made videos: windows, purity, chance."""

from __future__ import annotations

import numpy as np
import pytest

from signatlas.evaluation.sign_to_word.maps import MappedVideo, gloss_at, sign_to_word_map
from signatlas.evaluation.sign_to_word.mining import (
    DictionaryMiner,
    MinedWord,
    gloss_named,
    most_common_gloss,
    summarize,
)

DIRECTIONS = np.eye(4, dtype=np.float32)


def video(
    number: int, signed: list[int], words: list[str], directions: list[int], glosses: list[str] | None
) -> MappedVideo:
    """Return a video whose n-th ten-frame window has direction ``signed[n]``, and words with ``directions``."""
    clips = DIRECTIONS[signed]
    row = {
        "id": f"c/{number}",
        "glosses": glosses,
        "gloss_spans": None if glosses is None else [[10 * n, 10 * n + 10] for n in range(len(glosses))],
    }
    spans = [(word, [i]) for i, word in enumerate(words)]
    frames = 10 * np.arange(len(signed)) + 4.5
    return MappedVideo(
        row, " ".join(words), sign_to_word_map(clips, DIRECTIONS[directions], spans, 0.07), clips, frames
    )


def mine(glosses: bool = True, **options: int) -> DictionaryMiner:
    """Mine five videos: 'Regen' is signed REGEN, 'und' has no sign and a direction of its own."""
    miner = DictionaryMiner(**options)
    for number in range(5):
        order = [0, 1, 2] if number % 2 else [2, 0, 1]
        names = [["REGEN", "NORD", "WIND"][n] for n in order]
        words = ["Regen", "und", "N\u00f6rd", "!"] if number else ["regen", "und", "N\u00f6rd", "!"]
        miner.add(video(number, order, words, [0, 3, 1, 0], names if glosses else None))
    return miner


def by_word(miner: DictionaryMiner) -> dict[str, MinedWord]:
    return {word.word: word for word, _ in miner.words()}


def test_windows_of_a_word_have_the_highest_cosine() -> None:
    words = by_word(mine(min_count=5))
    assert set(words) == {"Regen", "und", "N\u00f6rd"}  # punctuation is not a word, spellings are merged
    regen = words["Regen"]
    assert (regen.count, regen.score, regen.majority, regen.purity) == (5, 1.0, "REGEN", 1.0)
    assert [(w.id, w.frame) for w in regen.windows] == [
        ("c/0", 14.5), ("c/1", 4.5), ("c/2", 14.5), ("c/3", 4.5), ("c/4", 14.5)
    ]  # fmt: skip
    assert regen.named == 1.0 and regen.named_chance == pytest.approx(1 / 3)
    assert 1 / 3 < (regen.chance or 0) < 0.65  # the most common of five random glosses is more than a third of them
    assert words["und"].score == 0.0 and words["N\u00f6rd"].named is None


def test_limits_hold_and_ties_are_ordered_by_id() -> None:
    assert by_word(mine(min_count=6)) == {}
    few = by_word(mine(min_count=5, max_windows=2))["Regen"]
    assert [w.id for w in few.windows] == ["c/0", "c/1"] and few.count == 5
    tokens = {word.word: tokens for word, tokens in mine(max_windows=3).words()}["Regen"]
    np.testing.assert_array_equal(tokens, DIRECTIONS[[0, 0, 0]])


def test_without_true_spans_there_is_no_quality() -> None:
    word = by_word(mine(glosses=False))["Regen"]
    assert (word.majority, word.purity, word.chance, word.named) == (None, None, None, None)
    assert summarize([word]) == {"words": 1, "windows": 5, "purity": None, "chance": None, "named_words": 0,
                               "named": None, "named_chance": None}  # fmt: skip


def test_chance_depends_on_the_seed() -> None:
    assert [w.chance for w, _ in mine().words(3)] == [w.chance for w, _ in mine().words(3)]
    assert [w.chance for w, _ in mine().words(3)] != [w.chance for w, _ in mine().words(4)]


def test_most_common_gloss_and_gloss_by_name() -> None:
    assert most_common_gloss(["a", None, "b", "b"]) == ("b", 0.5)
    assert most_common_gloss(["b", "a"]) == ("a", 0.5) and most_common_gloss([None]) == (None, 0.0)
    assert gloss_named("S\u00fcden", {"SUEDEN", "NORD"}) == "SUEDEN" and gloss_named("der", {"NORD"}) is None
    row = {"glosses": ["a", "b"], "gloss_spans": [[0, 5], [7, 9]]}
    assert [gloss_at(row, f) for f in (0, 4.5, 5, 7, 8.5, 9)] == ["a", "a", None, "b", "b", None]


def test_glosses_without_spans_have_no_position() -> None:
    """As in RWTH-PHOENIX-2014T and CSL-Daily, which have glosses without spans."""
    row = {"glosses": ["A", "B"], "gloss_spans": None}
    assert gloss_at(row, 3) is None
    assert gloss_at({"glosses": ["A", "B"], "gloss_spans": [[0, 2], [3, 5]]}, 3) == "B"
