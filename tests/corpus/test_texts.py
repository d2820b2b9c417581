"""Texts of a corpus: tokens, duplicates near and exact, what test shares with train, glosses."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest

from signatlas.corpus import texts


def row(split: str, glosses: list[str] | None = None, **said: str) -> dict[str, Any]:
    held = [{"language": language, "text": text} for language, text in said.items()]
    return {"split": split, "texts": held, "glosses": glosses}


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Milk, PLEASE!", "en", ("milk", "please")),
        ("Straße – groß", "de", ("strasse", "gross")),
        ("cafe\u0301", "fr", ("café",)),
        ("我喝 iced tea。", "zh", ("我", "喝", "iced", "tea")),
        ("我喝茶", "zh-Hans", ("我", "喝", "茶")),
        ("...", "en", ()),
    ],
)
def test_tokens(text: str, language: str, expected: tuple[str, ...]) -> None:
    assert texts.tokens(text, language) == expected


def test_near_is_what_comparing_all_pairs_finds() -> None:
    rng = random.Random(0)
    for size in (3, 8, 30):
        vocabulary = [f"w{i}" for i in range(size)]
        held = [tuple(rng.choices(vocabulary, k=rng.randint(0, 9))) for _ in range(120)]
        marks = [1 << rng.randrange(3) for _ in held]
        expected = [0] * len(held)
        for i, one in enumerate(map(set, held)):
            for j, other in enumerate(map(set, held)):
                if i != j and one and other and 5 * len(one & other) >= 4 * len(one | other):
                    expected[i] |= marks[j]
        assert texts.near(held, marks) == expected and any(expected)


def test_describe() -> None:
    rows = [
        row("train", en="The cup is on the table.", zh="杯子在桌上"),
        row("train", en="The cup is on the table."),
        row("train", en="Pour one two three four five"),
        row("dev", en="the CUP is on the table"),
        row("test", en="pour one two three four", zh="杯子在桌上"),
        row("test", en="nothing alike"),
    ]
    said = texts.describe_texts(rows)
    assert list(said) == ["en", "zh"] and json.loads(json.dumps(said)) == said
    english = said["en"]
    assert (english["texts"], english["tokens"], english["vocabulary"]) == (6, 31, 13)
    assert english["mean_tokens"] == 5.17
    assert english["duplicates"] == {"exact": 1, "folded": 2, "near": 2}
    assert english["in_train"] == {
        "dev": {"texts": 1, "exact": 0, "folded": 1, "near": 1},
        "test": {"texts": 2, "exact": 0, "folded": 0, "near": 1},
    }
    assert said["zh"]["tokens"] == 10 and said["zh"]["in_train"]["test"]["exact"] == 1
    lines = "\n".join(texts.as_lines(said, None))
    assert "texts en: 6, 31 tokens of 13" in lines and "test in train 0 of 2 exactly, 0 after folding, 1 near" in lines


def test_glosses() -> None:
    assert texts.describe_glosses([row("train", en="x")]) is None
    said = texts.describe_glosses([row("train", ["A", "B", "A"]), row("test", ["A", "C"]), row("test", []), row("dev")])
    assert said is not None and (said["clips"], said["tokens"], said["vocabulary"], said["once"]) == (3, 5, 3, 2)
    assert said["splits"]["test"] == {"tokens": 2, "vocabulary": 2, "vocabulary_in_train": 1, "tokens_in_train": 1}
    assert "dev" not in said["splits"]
    assert "test         2 tokens of 2; in train 1 of the vocabulary, 1 tokens" in "\n".join(texts.as_lines({}, said))


def test_eight_thousand_texts_take_seconds() -> None:
    """Words as often as in a language (rank to the power -1), fourteen a text."""
    rng = random.Random(1)
    words = [f"w{i}" for i in range(3000)]
    weights = [1 / (rank + 1) for rank in range(3000)]
    rows = [row("train", en=" ".join(rng.choices(words, weights, k=14))) for _ in range(8000)]
    began = time.perf_counter()
    texts.describe_texts(rows)
    assert time.perf_counter() - began < 20
