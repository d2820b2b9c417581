"""Figures of translations: those of sacreBLEU and pycocoevalcap, sentence by sentence; mistakes are one line."""

from __future__ import annotations

import random

import numpy as np
import pytest
from pycocoevalcap.rouge.rouge import Rouge
from sacrebleu.metrics import BLEU, CHRF

from signatlas.errors import TextError
from signatlas.metrics import translation

WORDS = ["am", "morgen", "regen", "im", "Norden", "Süden", ",", ".", "und", "20", "Grad", "(auch)", "»so«", "es's"]
WORDS += ["\u00a0", "\t", "x-y", "3,5", ""]
EDGES = ["", " ", "  ", "a", "a ", " a", "a  b", "a b", "A b", "b a", "a\tb", "a\nb", "a b c", "regen .", "regen."]


def sentences(count: int, seed: int, shortest: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(shortest, 14))) for _ in range(count)]


def pairs() -> list[tuple[str, str]]:
    random_ones = list(zip(sentences(1500, 1), sentences(1500, 2), strict=True))
    return random_ones + [(a, b) for a in EDGES for b in EDGES]


def test_rouge_l_is_that_of_pycocoevalcap_on_every_sentence() -> None:
    theirs = Rouge()
    found = [(translation.rouge_l(h, r), theirs.calc_score([h], [r])) for h, r in pairs()]
    assert len({round(b, 6) for _, b in found}) > 50
    for ours, expected in found:
        assert ours == pytest.approx(expected, abs=1e-12)


def test_rouge_l_of_a_corpus_is_that_of_pycocoevalcap() -> None:
    told, wanted = sentences(300, 3), sentences(300, 4, shortest=1)
    wanted = [text if text.strip() else "a" for text in wanted]
    expected, by_sentence = Rouge().compute_score(
        {i: [r] for i, r in enumerate(wanted)}, {i: [h] for i, h in enumerate(told)}
    )
    assert translation.score(told, wanted, "de")["ROUGE-L"] == pytest.approx(100 * expected)
    np.testing.assert_allclose(translation.sentence_scores(told, wanted, "de")["ROUGE-L"], 100 * by_sentence)


def near(texts: list[str], seed: int) -> list[str]:
    """Texts that share n-grams of every length with the given ones."""
    rng = random.Random(seed)
    return [" ".join(w for w in text.split(" ") if rng.random() < 0.9) for text in texts]


@pytest.mark.parametrize("language", ["de", "zh"])
def test_bleu_and_chrf_are_those_of_sacrebleu(language: str) -> None:
    wanted = [text if text.strip() else "a" for text in sentences(200, 5, shortest=1)]
    told = ["", *near(wanted, 6)[1:]]
    spaced = [" ".join("".join(t.split())) for t in wanted], [" ".join("".join(t.split())) for t in told]
    asked = (wanted, told) if language == "de" else spaced
    found = translation.score(told, wanted, language)
    for n in (1, 2, 3, 4):
        expected = BLEU(max_ngram_order=n).corpus_score(asked[1], [asked[0]]).score
        assert 10 < expected < 95
        assert found[f"BLEU-{n}"] == pytest.approx(expected, abs=1e-9)
    assert found["chrF"] == pytest.approx(CHRF().corpus_score(asked[1], [asked[0]]).score, abs=1e-9)
    each = translation.sentence_scores(told, wanted, language)
    assert each.keys() == set(translation.OF_SENTENCES)
    one = BLEU(effective_order=True).sentence_score(asked[1][7], [asked[0][7]]).score
    assert each["BLEU"][7] == pytest.approx(one)
    assert each["BLEU"][0] == each["chrF"][0] == each["ROUGE-L"][0] == 0


def test_case_punctuation_and_spaces_count() -> None:
    same = translation.score(["Morgen Regen im Norden."], ["Morgen Regen im Norden."], "de")
    assert [same[name] for name in translation.FIGURES] == pytest.approx([100] * 6)
    for other in ("morgen Regen im Norden.", "Morgen Regen im Norden"):
        found = translation.score([other], ["Morgen Regen im Norden."], "de")
        assert all(found[name] < 99 for name in translation.FIGURES), other


def test_unspaced_languages_are_compared_by_characters_and_the_signature_says_so() -> None:
    # Two of four characters in order: P = R = 1/2, and no token at all would be shared by words.
    found = translation.score(["明天有雨"], ["明日有雪"], "zh-Hans")
    assert found["ROUGE-L"] == pytest.approx(50)
    assert found["BLEU-1"] == pytest.approx(50)
    assert translation.score(["明天有雨"], ["明日有雪"], "en")["ROUGE-L"] == 0
    assert "split:characters" in found["signature"]["BLEU"]
    assert found["signature"]["BLEU"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    signature = translation.signatures("de")
    assert "split" not in "".join(signature.values())
    assert signature["chrF"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
    assert "beta:1.2" in signature["ROUGE-L"]


def test_summed_counts_give_bleu_of_any_part() -> None:
    wanted = [text if text.strip() else "a" for text in sentences(60, 7, shortest=1)]
    told = near(wanted, 8)
    counts = translation.bleu_counts(told, wanted, "de")
    part = [3, 3, 5, 17, 40]
    expected = BLEU().corpus_score([told[i] for i in part], [[wanted[i] for i in part]]).score
    assert translation.bleu(counts[part].sum(0)) == pytest.approx(expected)


def test_nothing_right_and_nothing_said_are_zero_not_an_error() -> None:
    for told in (["", ""], ["x", "y"]):
        found = translation.score(told, ["a b c d e", "f g h i j"], "de")
        assert [found[name] for name in translation.FIGURES] == [0] * 6


@pytest.mark.parametrize(
    ("told", "wanted", "why"),
    [
        (["a"], ["a", "b"], "1 translations for 2 references"),
        ([], [], "no sentences to score"),
        (["a", "b"], ["a", " \t"], "reference 1 of 2 is empty"),
    ],
)
def test_mistakes_are_one_line(told: list[str], wanted: list[str], why: str) -> None:
    for scored in (translation.score, translation.sentence_scores):
        with pytest.raises(TextError, match=why) as error:
            scored(told, wanted, "de")
        assert "\n" not in str(error.value)
