"""Groups of texts that say the same."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest

from signatlas.text.duplicate_groups import fold, groups


def test_case_punctuation_space_and_encoding_do_not_matter():
    texts = ["Morgen, Regen!", "morgen  regen", "Regen morgen", "Cafe\u0301", "café.", "STRASSE", "Straße"]
    assert groups(texts).tolist() == [0, 0, 1, 2, 2, 3, 3]
    assert groups(texts).dtype == np.int64


def test_punctuation_alone_is_not_all_one_text():
    assert groups(["?", "!", "? "]).tolist() == [0, 1, 0]


def test_no_text():
    assert groups([]).shape == groups([], near=0.5).shape == (0,)


def test_ideographs_are_tokens():
    assert fold("我喝 Iced tea。") == ("我", "喝", "iced", "tea")
    assert groups(["我喝茶", "我喝茶。", "我喝热茶", "你好"], near=0.75).tolist() == [0, 0, 0, 1]


def test_near_texts_join_by_the_share_of_common_words():
    texts = ["a b c d", "a b c e", "x y", "d c b a"]
    assert groups(texts, near=1.0).tolist() == [0, 1, 2, 3]
    assert groups(texts, near=0.99).tolist() == [0, 1, 2, 0]
    assert groups(texts, near=0.6).tolist() == [0, 0, 1, 0]  # 3 of 5 shared: exactly the share
    assert groups(texts, near=0.61).tolist() == [0, 1, 2, 0]


def test_chains_join():
    assert groups(["a b c", "b c d", "c d e", "q"], near=0.5).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("near", [0.3, 0.5, 0.8, 0.9])
def test_against_comparing_all_pairs(near):
    rng = random.Random(1)
    texts = [" ".join(rng.choices("abcdefghij", k=rng.randint(1, 7))) for _ in range(60)]
    sets = [set(text.split()) for text in texts]
    joined = np.array([[len(a & b) / len(a | b) >= near - 1e-9 for b in sets] for a in sets])
    for _ in range(6):  # transitive closure by squaring
        joined = joined @ joined
    found = groups(texts, near=near)
    assert np.array_equal(found[:, None] == found, joined)


@pytest.mark.parametrize("near", [0.0, 1.5, -1.0])
def test_a_share_outside_its_range_is_refused(near):
    with pytest.raises(ValueError, match="near must be"):
        groups(["a"], near=near)


def test_twenty_thousand_texts_are_quick():
    rng = random.Random(0)
    texts = [" ".join(f"w{int(rng.paretovariate(0.3) % 50_000)}" for _ in range(12)) for _ in range(20_000)]
    started = time.perf_counter()
    assert len(set(groups(texts, near=0.8))) > 1000
    assert time.perf_counter() - started < 20
