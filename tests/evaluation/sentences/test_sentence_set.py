"""Which videos and texts take part, and subsets of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from signatlas.errors import TextError
from signatlas.evaluation.sentences.protocol import Paired
from signatlas.evaluation.sentences.sentence_set import narrowed, sentence_of, sentence_set, subsets


def row(id: str, glosses: str, texts: dict[str, str], source: str = "made", **more: Any) -> dict[str, Any]:
    held = [{"language": code, "text": text} for code, text in texts.items()]
    words = glosses.split()
    found = {"id": id, "source": source, "glosses": words, "texts": held, "exemplars": [f"rec/{id}/{w}" for w in words]}
    return {**found, "gloss_kinds": ["real"] * len(words), **more}


def test_texts_are_the_same_without_case_and_punctuation() -> None:
    rows = [row("a", "x", {"de": "Guten Tag!"}), row("b", "y", {"de": "guten tag"}), row("c", "z", {"de": "Nein."})]
    asked = sentence_set(rows, ["de"], "made")
    assert asked.same("de").tolist() == [0, 0, 1]
    assert asked.video_ids == list(asked.sentence_ids) == ["a", "b", "c"]


def test_takes_of_a_how2sign_sentence_are_one_sentence() -> None:
    rows = [
        row(f"how2sign/test/{name}", "", {"en": text}, "how2sign")
        for name, text in (("ab_0-5-rgb_front", "One."), ("ab_1-5-rgb_front", "Two."), ("ab_0-8-rgb_front", "One."))
    ]
    asked = sentence_set(rows, ["en"], "made")
    assert asked.group_of_video.tolist() == [0, 1, 0]
    assert asked.sentence_ids == ("how2sign/test/ab_0", "how2sign/test/ab_1")
    assert asked.texts == {"en": ["One.", "Two."]}


def test_clips_without_a_text_in_each_language_are_left_out_and_counted() -> None:
    rows = [
        row("a", "x", {"de": "Ja", "en": "yes"}),
        row("b", "y", {"de": "Nein"}),
        row("c", "z", {"de": "?", "en": "x"}),
    ]
    asked = sentence_set(rows, ["de", "en"], "made")
    assert (asked.video_ids, asked.left_out) == (["a"], 2)
    assert sentence_set(rows, ["de"], "made").left_out == 1


@pytest.mark.parametrize(
    ("texts", "languages", "why"),
    [
        ({"de": "Ja"}, ["de", "xx"], "made has no texts in language 'xx': there are de; choose --languages from these"),
        ({}, ["de"], "made has no texts: nothing can be asked"),
        ({"de": "..."}, ["de"], "no clip has texts in all of de"),
    ],
)
def test_what_cannot_be_asked_is_one_line(texts: dict[str, str], languages: list[str], why: str) -> None:
    with pytest.raises(TextError, match=why):
        sentence_set([row("a", "x", texts)], languages, "made")


def test_subsets_by_what_training_showed() -> None:
    train = [row("t", "hallo welt", {"de": "Hallo, Welt!"}, exemplars=["r1", "r2"])]
    rows = [
        row("new", "welt hallo", {"de": "Welt, hallo"}, exemplars=["r3", "r4"]),
        row("glosses", "hallo welt", {"de": "etwas"}, exemplars=["r1", "r4"]),
        row("text", "etwas", {"de": "hallo welt"}, exemplars=["r4", "r5", "r1"], gloss_kinds=["assigned"]),
        row("plain", "anders", {"de": "anders"}, exemplars=None, gloss_kinds=None),
    ]
    found = {
        name: np.flatnonzero(mask).tolist() for name, mask in subsets(sentence_set(rows, ["de"], "x"), train).items()
    }
    assert found == {
        "new": [0, 3], "seen": [1, 2], "real signs": [0, 1], "assigned signs": [2],
        "own recordings": [0], "shared recordings": [1, 2], "mostly own": [0, 2],
    }  # fmt: skip
    alone = subsets(sentence_set(rows[3:], ["de"], "x"), [])
    assert list(alone) == ["new"]


def test_narrowed_keeps_the_gallery_whole_or_narrows_it_too() -> None:
    scores = np.array([[0.5, 0.1, 0.9], [0.2, 0.6, 0.1], [0.1, 0.3, 0.4]])
    paired = Paired(scores, np.arange(3), np.arange(3))
    keep = np.array([True, True, False])
    whole, own = (narrowed(paired, keep, whole=w) for w in (True, False))
    assert whole is not None
    assert own is not None
    assert whole["V2T"].ranks().tolist() == [2, 1]
    assert own["V2T"].ranks().tolist() == [1, 1]
    assert (whole["T2V"].scores.shape, own["T2V"].scores.shape) == ((2, 3), (2, 2))
    assert narrowed(paired, np.zeros(3, bool), whole=True) is None


def test_a_sentence_is_in_a_subset_only_with_all_its_videos() -> None:
    paired = Paired(np.eye(3)[:, :2], np.array([0, 0, 1]), np.arange(2))
    found = narrowed(paired, np.array([True, False, True]), whole=True)
    assert found is not None
    assert (len(found["T2V"].scores), len(found["V2T"].scores)) == (1, 1)


def test_takes_of_one_sentence_are_one_sentence() -> None:
    row = {"source": "csl-daily", "id": "csl-daily/test/S000001_P0004_T00"}
    assert sentence_of(row) == sentence_of({**row, "id": "csl-daily/test/S000001_P0007_T01"})
    assert sentence_of(row) != sentence_of({**row, "id": "csl-daily/test/S000002_P0004_T00"})
    assert sentence_of({**row, "source": "other"}) == row["id"]
