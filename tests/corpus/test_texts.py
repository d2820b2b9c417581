"""Statistics of texts and glosses: tokens, exact and near duplicates, overlap with train."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest

from signatlas.corpus import texts


def row(split: str, glosses: list[str] | None = None, **texts_by_language: str) -> dict[str, Any]:
    texts = [{"language": language, "text": text} for language, text in texts_by_language.items()]
    return {"split": split, "texts": texts, "glosses": glosses}


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


def test_near_duplicates_are_those_of_comparing_all_pairs() -> None:
    rng = random.Random(0)
    for size in (3, 8, 30):
        vocabulary = [f"w{i}" for i in range(size)]
        tokenized = [tuple(rng.choices(vocabulary, k=rng.randint(0, 9))) for _ in range(120)]
        marks = [1 << rng.randrange(3) for _ in tokenized]
        expected = [0] * len(tokenized)
        for i, one in enumerate(map(set, tokenized)):
            for j, other in enumerate(map(set, tokenized)):
                if i != j and one and other and 5 * len(one & other) >= 4 * len(one | other):
                    expected[i] |= marks[j]
        assert texts.near_marks(tokenized, marks) == expected and any(expected)


def test_statistics_of_texts() -> None:
    rows = [
        row("train", en="The cup is on the table.", zh="杯子在桌上"),
        row("train", en="The cup is on the table."),
        row("train", en="Pour one two three four five"),
        row("dev", en="the CUP is on the table"),
        row("test", en="pour one two three four", zh="杯子在桌上"),
        row("test", en="nothing alike"),
    ]
    described = texts.describe_texts(rows)
    assert list(described) == ["en", "zh"] and json.loads(json.dumps(described)) == described
    english = described["en"]
    assert (english["texts"], english["tokens"], english["vocabulary"]) == (6, 31, 13)
    assert english["mean_tokens"] == 5.17
    assert english["duplicates"] == {"exact": 1, "folded": 2, "near": 2}
    assert english["in_train"] == {
        "dev": {"texts": 1, "exact": 0, "folded": 1, "near": 1},
        "test": {"texts": 2, "exact": 0, "folded": 0, "near": 1},
    }
    assert described["zh"]["tokens"] == 10 and described["zh"]["in_train"]["test"]["exact"] == 1
    lines = "\n".join(texts.as_lines(described, None))
    assert "texts en: 6; 31 tokens, 5.17 per text, vocabulary 13" in lines
    assert "test in train of 2: 0 exact, 0 folded, 1 near" in lines


def test_statistics_of_glosses() -> None:
    assert texts.describe_glosses([row("train", en="x")]) is None
    glosses = texts.describe_glosses(
        [row("train", ["A", "B", "A"]), row("test", ["A", "C"]), row("test", []), row("dev")]
    )
    assert glosses is not None
    assert (glosses["clips"], glosses["tokens"], glosses["vocabulary"], glosses["once"]) == (3, 5, 3, 2)
    assert glosses["splits"]["test"] == {"tokens": 2, "vocabulary": 2, "vocabulary_in_train": 1, "tokens_in_train": 1}
    assert "dev" not in glosses["splits"]
    assert "test         2 tokens, vocabulary 2; in train: 1 tokens, 1 of the vocabulary" in "\n".join(
        texts.as_lines({}, glosses)
    )


def test_eight_thousand_texts_take_seconds() -> None:
    """Fourteen words a text, with Zipf frequencies."""
    rng = random.Random(1)
    words = [f"w{i}" for i in range(3000)]
    weights = [1 / (rank + 1) for rank in range(3000)]
    rows = [row("train", en=" ".join(rng.choices(words, weights, k=14))) for _ in range(8000)]
    began = time.perf_counter()
    texts.describe_texts(rows)
    assert time.perf_counter() - began < 20
