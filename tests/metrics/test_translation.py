"""Translation metrics against sacreBLEU and pycocoevalcap, sentence by sentence; errors are one line."""

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


def test_rouge_l_equals_pycocoevalcap_on_every_sentence() -> None:
    theirs = Rouge()
    scores = [(translation.rouge_l(h, r), theirs.calc_score([h], [r])) for h, r in pairs()]
    assert len({round(b, 6) for _, b in scores}) > 50
    for ours, expected in scores:
        assert ours == pytest.approx(expected, abs=1e-12)


def test_rouge_l_of_a_corpus_equals_pycocoevalcap() -> None:
    hypotheses, references = sentences(300, 3), sentences(300, 4, shortest=1)
    references = [text if text.strip() else "a" for text in references]
    expected, by_sentence = Rouge().compute_score(
        {i: [r] for i, r in enumerate(references)}, {i: [h] for i, h in enumerate(hypotheses)}
    )
    assert translation.score(hypotheses, references, "de")["ROUGE-L"] == pytest.approx(100 * expected)
    np.testing.assert_allclose(translation.sentence_scores(hypotheses, references, "de")["ROUGE-L"], 100 * by_sentence)


def perturb(texts: list[str], seed: int) -> list[str]:
    """Return texts that share n-grams of every length with the given ones."""
    rng = random.Random(seed)
    return [" ".join(w for w in text.split(" ") if rng.random() < 0.9) for text in texts]


@pytest.mark.parametrize("language", ["de", "zh"])
def test_bleu_and_chrf_equal_sacrebleu(language: str) -> None:
    references = [text if text.strip() else "a" for text in sentences(200, 5, shortest=1)]
    hypotheses = ["", *perturb(references, 6)[1:]]
    spaced = [" ".join("".join(t.split())) for t in references], [" ".join("".join(t.split())) for t in hypotheses]
    pair = (references, hypotheses) if language == "de" else spaced
    metrics = translation.score(hypotheses, references, language)
    for n in (1, 2, 3, 4):
        expected = BLEU(max_ngram_order=n).corpus_score(pair[1], [pair[0]]).score
        assert 10 < expected < 95
        assert metrics[f"BLEU-{n}"] == pytest.approx(expected, abs=1e-9)
    assert metrics["chrF"] == pytest.approx(CHRF().corpus_score(pair[1], [pair[0]]).score, abs=1e-9)
    by_sentence = translation.sentence_scores(hypotheses, references, language)
    assert by_sentence.keys() == set(translation.SENTENCE_METRICS)
    one = BLEU(effective_order=True).sentence_score(pair[1][7], [pair[0][7]]).score
    assert by_sentence["BLEU"][7] == pytest.approx(one)
    assert by_sentence["BLEU"][0] == by_sentence["chrF"][0] == by_sentence["ROUGE-L"][0] == 0


def test_case_punctuation_and_spaces_count() -> None:
    same = translation.score(["Morgen Regen im Norden."], ["Morgen Regen im Norden."], "de")
    assert [same[name] for name in translation.METRICS] == pytest.approx([100] * 6)
    for other in ("morgen Regen im Norden.", "Morgen Regen im Norden"):
        metrics = translation.score([other], ["Morgen Regen im Norden."], "de")
        assert all(metrics[name] < 99 for name in translation.METRICS), other


def test_unspaced_languages_are_scored_by_characters_and_the_signature_says_so() -> None:
    # Two of four characters in order: P = R = 1/2, and no token at all would be shared by words.
    metrics = translation.score(["明天有雨"], ["明日有雪"], "zh-Hans")
    assert metrics["ROUGE-L"] == pytest.approx(50)
    assert metrics["BLEU-1"] == pytest.approx(50)
    assert translation.score(["明天有雨"], ["明日有雪"], "en")["ROUGE-L"] == 0
    assert "split:characters" in metrics["signature"]["BLEU"]
    assert metrics["signature"]["BLEU"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    signature = translation.signatures("de")
    assert "split" not in "".join(signature.values())
    assert signature["chrF"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
    assert "beta:1.2" in signature["ROUGE-L"]


def test_summed_counts_give_bleu_of_any_part() -> None:
    references = [text if text.strip() else "a" for text in sentences(60, 7, shortest=1)]
    hypotheses = perturb(references, 8)
    counts = translation.bleu_counts(hypotheses, references, "de")
    part = [3, 3, 5, 17, 40]
    expected = BLEU().corpus_score([hypotheses[i] for i in part], [[references[i] for i in part]]).score
    assert translation.bleu(counts[part].sum(0)) == pytest.approx(expected)


def test_wrong_and_empty_hypotheses_score_zero() -> None:
    for hypotheses in (["", ""], ["x", "y"]):
        metrics = translation.score(hypotheses, ["a b c d e", "f g h i j"], "de")
        assert [metrics[name] for name in translation.METRICS] == [0] * 6


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        (["a"], ["a", "b"], "1 translations for 2 references"),
        ([], [], "no sentences to score"),
        (["a", "b"], ["a", " \t"], "reference 1 of 2 is empty"),
    ],
)
def test_errors_are_one_line(hypotheses: list[str], references: list[str], message: str) -> None:
    for function in (translation.score, translation.sentence_scores):
        with pytest.raises(TextError, match=message) as error:
            function(hypotheses, references, "de")
        assert "\n" not in str(error.value)
