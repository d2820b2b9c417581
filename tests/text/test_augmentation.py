"""Easy data augmentation: what each way changes, and what it leaves."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import pytest

from signatlas.text import augmentation
from signatlas.text.augmentation import Augmenter
from signatlas.text.encoders.config import AugmentationConfig
from signatlas.text.thesaurus import VARIABLE
from tests.text.test_thesaurus import write

TEXT = "Morgen regnet es, im Norden (und Osten) schneit das schöne Haus."


@pytest.fixture(autouse=True)
def _forget_thesauri(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    augmentation._thesaurus.cache_clear()
    yield
    augmentation._thesaurus.cache_clear()


def many(config: AugmentationConfig, text: str = TEXT, language: str = "de", times: int = 200, folders=()) -> list[str]:
    augmenter, rng = Augmenter(config, folders), np.random.default_rng(0)
    return [augmenter(text, language, rng) for _ in range(times)]


def bare(text: str) -> list[str]:
    return [word.strip(",.()") for word in text.split()]


def test_none_changes_nothing():
    assert set(many(AugmentationConfig(mode="none", probability=1))) == {TEXT}


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_so_many_texts_are_changed(probability):
    said = many(AugmentationConfig(mode="swap", probability=probability), "a b c d e f", times=1000)
    assert np.mean([text != "a b c d e f" for text in said]) == pytest.approx(probability, abs=0.05)


def test_a_swap_exchanges_two_words_and_leaves_punctuation_in_place():
    for text in many(AugmentationConfig(mode="swap", probability=1)):
        assert Counter(bare(text)) == Counter(bare(TEXT))
        assert sum(a != b for a, b in zip(bare(text), bare(TEXT), strict=True)) == 2
        assert [c for c in text if c in ",.()"] == [",", "(", ")", "."]


def test_strength_is_the_share_of_words_swapped():
    words = " ".join(f"w{i}" for i in range(40))
    moved = [
        np.mean([sum(a != b for a, b in zip(t.split(), words.split(), strict=True)) for t in said])
        for said in (many(AugmentationConfig(mode="swap", probability=1, strength=s), words) for s in (0.1, 0.3))
    ]
    assert 6 < moved[0] < 8.1 and 15 < moved[1] < 24.1  # 4 and 12 swaps, of which some meet


def test_the_same_generator_gives_the_same_texts():
    config = AugmentationConfig(mode="full", probability=0.8)
    assert many(config) == many(config)
    assert len(set(many(config))) > 20


@pytest.mark.parametrize("language", ["de", "en", "zh"])
@pytest.mark.parametrize("text", ["Haus", "a b", "...", "x .", "Haus!"])
def test_no_text_is_emptied(text, language):
    for said in many(AugmentationConfig(mode="full", probability=1, strength=1), text, language):
        assert any(c.isalnum() for c in said) or text == said


def test_deletion_takes_so_many_words():
    words = [augmentation._split(f"w{i}") for i in range(20)]
    rng = np.random.default_rng(0)
    left = [len(augmentation.with_deletions(words, 0.2, rng)) for _ in range(500)]
    assert np.mean(left) == pytest.approx(16, abs=0.3)


def test_synonyms_replace_known_words_that_carry_meaning(tmp_path):
    write(tmp_path)
    words = [augmentation._split(part) for part in ["Das", "Haus", "ist", "schön."]]
    thesaurus = augmentation._thesaurus("de", (str(tmp_path),))
    rng = np.random.default_rng(0)
    said = {" ".join(map(str, augmentation.with_synonyms(words, 0.1, rng, thesaurus, "de"))) for _ in range(100)}
    house = {f"Das {word} ist schön." for word in ("Heim", "Hütte", "Familie")}
    assert said == house | {"Das Haus ist hübsch.", "Das Haus ist fein."}


def test_capitals_follow_the_text(tmp_path):
    write(tmp_path)
    thesaurus, rng = augmentation._thesaurus("de", (str(tmp_path),)), np.random.default_rng(0)

    def said(text: str) -> set[str]:
        words = [augmentation._split(part) for part in text.split()]
        return {" ".join(map(str, augmentation.with_synonyms(words, 0.1, rng, thesaurus, "de"))) for _ in range(60)}

    assert said("das haus") == {"das heim", "das hütte", "das familie"}
    assert said("Schön ist das") == {"Hübsch ist das", "Fein ist das"}


def test_full_uses_all_three_ways_where_a_thesaurus_is(tmp_path):
    write(tmp_path)
    text = "Das Haus ist schön da"
    texts = many(AugmentationConfig(mode="full", probability=1), text, folders=[tmp_path], times=300)
    kinds = Counter(
        "swap" if said != text and sorted(said.split()) == sorted(text.split())
        else "synonym" if said != text and len(said.split()) == 5
        else "deletion or none"
        for said in texts
    )  # fmt: skip
    assert min(kinds["swap"], kinds["synonym"], kinds["deletion or none"]) > 70


def test_without_a_thesaurus_it_says_so_once(caplog):
    with caplog.at_level(logging.WARNING):
        texts = many(AugmentationConfig(mode="full", probability=1), "alpha beta gamma delta", "qq")
    assert len([r for r in caplog.records if "no thesaurus of language 'qq'" in r.message]) == 1
    assert all(set(text.split()) <= {"alpha", "beta", "gamma", "delta"} for text in texts)


def test_characters_are_the_words_of_chinese_and_latin_words_stay_whole():
    for text in many(AugmentationConfig(mode="swap", probability=1), "我喝 iced 茶。", "zh"):
        assert "iced" in text and sorted(text) == sorted("我喝 iced 茶。") and text.endswith("。")
