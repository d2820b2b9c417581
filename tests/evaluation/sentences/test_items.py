"""Items of a sentence evaluation, and their subsets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from signatlas.errors import TextError
from signatlas.evaluation.sentences.items import collect_items, narrow, sentence_id, subsets
from signatlas.evaluation.sentences.protocol import PairScores


def row(id: str, glosses: str, texts: dict[str, str], source: str = "made", **extra: Any) -> dict[str, Any]:
    by_language = [{"language": code, "text": text} for code, text in texts.items()]
    words = glosses.split()
    columns = {
        "id": id,
        "source": source,
        "glosses": words,
        "texts": by_language,
        "exemplars": [f"rec/{id}/{w}" for w in words],
    }
    return {**columns, "gloss_kinds": ["real"] * len(words), **extra}


def test_text_labels_ignore_case_and_punctuation() -> None:
    rows = [row("a", "x", {"de": "Guten Tag!"}), row("b", "y", {"de": "guten tag"}), row("c", "z", {"de": "Nein."})]
    items = collect_items(rows, ["de"], "made")
    assert items.text_labels("de").tolist() == [0, 0, 1]
    assert items.video_ids == list(items.sentence_ids) == ["a", "b", "c"]


def test_takes_of_a_how2sign_sentence_are_one_sentence() -> None:
    rows = [
        row(f"how2sign/test/{name}", "", {"en": text}, "how2sign")
        for name, text in (("ab_0-5-rgb_front", "One."), ("ab_1-5-rgb_front", "Two."), ("ab_0-8-rgb_front", "One."))
    ]
    items = collect_items(rows, ["en"], "made")
    assert items.group_of_video.tolist() == [0, 1, 0]
    assert items.sentence_ids == ("how2sign/test/ab_0", "how2sign/test/ab_1")
    assert items.texts == {"en": ["One.", "Two."]}


def test_clips_without_a_text_in_each_language_are_left_out_and_counted() -> None:
    rows = [
        row("a", "x", {"de": "Ja", "en": "yes"}),
        row("b", "y", {"de": "Nein"}),
        row("c", "z", {"de": "?", "en": "x"}),
    ]
    items = collect_items(rows, ["de", "en"], "made")
    assert (items.video_ids, items.left_out) == (["a"], 2)
    assert collect_items(rows, ["de"], "made").left_out == 1


@pytest.mark.parametrize(
    ("texts", "languages", "message"),
    [
        ({"de": "Ja"}, ["de", "xx"], "made has no texts in language 'xx': there are de; choose --languages from these"),
        ({}, ["de"], "made has no texts, so it cannot be searched by text"),
        ({"de": "..."}, ["de"], "no clip has texts in all of de"),
    ],
)
def test_unusable_texts_are_one_line(texts: dict[str, str], languages: list[str], message: str) -> None:
    with pytest.raises(TextError, match=message):
        collect_items([row("a", "x", texts)], languages, "made")


def test_subsets_by_overlap_with_training() -> None:
    train = [row("t", "hallo welt", {"de": "Hallo, Welt!"}, exemplars=["r1", "r2"])]
    rows = [
        row("new", "welt hallo", {"de": "Welt, hallo"}, exemplars=["r3", "r4"]),
        row("glosses", "hallo welt", {"de": "etwas"}, exemplars=["r1", "r4"]),
        row("text", "etwas", {"de": "hallo welt"}, exemplars=["r4", "r5", "r1"], gloss_kinds=["assigned"]),
        row("plain", "anders", {"de": "anders"}, exemplars=None, gloss_kinds=None),
    ]
    by_name = {
        name: np.flatnonzero(mask).tolist() for name, mask in subsets(collect_items(rows, ["de"], "x"), train).items()
    }
    assert by_name == {
        "new": [0, 3], "seen": [1, 2], "real signs": [0, 1], "assigned signs": [2],
        "own recordings": [0], "shared recordings": [1, 2], "mostly own": [0, 2],
    }  # fmt: skip
    alone = subsets(collect_items(rows[3:], ["de"], "x"), [])
    assert list(alone) == ["new"]


def test_narrow_keeps_the_whole_gallery_or_the_subset() -> None:
    scores = np.array([[0.5, 0.1, 0.9], [0.2, 0.6, 0.1], [0.1, 0.3, 0.4]])
    pairs = PairScores(scores, np.arange(3), np.arange(3))
    keep = np.array([True, True, False])
    whole, subset = (narrow(pairs, keep, whole_gallery=w) for w in (True, False))
    assert whole is not None
    assert subset is not None
    assert whole["V2T"].ranks().tolist() == [2, 1]
    assert subset["V2T"].ranks().tolist() == [1, 1]
    assert (whole["T2V"].scores.shape, subset["T2V"].scores.shape) == ((2, 3), (2, 2))
    assert narrow(pairs, np.zeros(3, bool), whole_gallery=True) is None


def test_a_sentence_is_in_a_subset_only_with_all_its_videos() -> None:
    pairs = PairScores(np.eye(3)[:, :2], np.array([0, 0, 1]), np.arange(2))
    both = narrow(pairs, np.array([True, False, True]), whole_gallery=True)
    assert both is not None
    assert (len(both["T2V"].scores), len(both["V2T"].scores)) == (1, 1)


def test_takes_of_one_sentence_are_one_sentence() -> None:
    row = {"source": "csl-daily", "id": "csl-daily/test/S000001_P0004_T00"}
    assert sentence_id(row) == sentence_id({**row, "id": "csl-daily/test/S000001_P0007_T01"})
    assert sentence_id(row) != sentence_id({**row, "id": "csl-daily/test/S000002_P0004_T00"})
    assert sentence_id({**row, "source": "other"}) == row["id"]
