"""Translation metrics: BLEU and chrF by sacreBLEU, ROUGE-L as in pycocoevalcap.

Texts are scored as they are, with case and punctuation, over the whole corpus at once. Languages that put no space
between words are scored character by character, as is usual for Chinese; the signatures say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from signatlas.corpus.texts import UNSPACED
from signatlas.errors import TextError

if TYPE_CHECKING:
    from sacrebleu.metrics import BLEU

ORDERS = (1, 2, 3, 4)
METRICS = (*(f"BLEU-{n}" for n in ORDERS), "ROUGE-L", "chrF")
SENTENCE_METRICS = ("BLEU", "ROUGE-L", "chrF")
BETA = 1.2  # weight of recall in ROUGE-L


def is_unspaced(language: str) -> bool:
    """Return whether texts of a language (BCP 47) are scored character by character.

    >>> is_unspaced("zh-Hans"), is_unspaced("de")
    (True, False)
    """
    return language.split("-")[0].lower() in UNSPACED


def segment(texts: Sequence[str], language: str) -> list[str]:
    """Return texts as they are scored: unchanged, or with a space between all characters.

    >>> segment(["明天 有雨"], "zh"), segment(["Morgen  Regen."], "de")
    (['明 天 有 雨'], ['Morgen  Regen.'])
    """
    if not is_unspaced(language):
        return list(texts)
    return [" ".join("".join(text.split())) for text in texts]


def rouge_l(hypothesis: str, reference: str) -> float:
    """Return ROUGE-L of one sentence, 0..1: (1 + b^2) P R / (R + b^2 P) of the longest common subsequence, b = 1.2.

    Equals ``pycocoevalcap.rouge.rouge.Rouge`` for one reference: texts are split at single spaces, so two spaces in a
    row give an empty token, and so does the empty text.
    """
    predicted, expected = hypothesis.split(" "), reference.split(" ")
    common = _common_subsequence_length(predicted, expected)
    if not common:
        return 0.0
    precision, recall = common / len(predicted), common / len(expected)
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common_subsequence_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, one row of the table at a time."""
    above = [0] * (len(second) + 1)
    for token in first:
        row = [0]
        for i, other in enumerate(second):
            row.append(above[i] + 1 if token == other else max(above[i + 1], row[i]))
        above = row
    return above[-1]


def score(hypotheses: Sequence[str], references: Sequence[str], language: str) -> dict[str, Any]:
    """Return BLEU-1 to BLEU-4, ROUGE-L and chrF of a corpus, 0..100, and their ``signature``.

    BLEU-n is corpus BLEU up to order n (sacreBLEU, 13a); ROUGE-L is the mean over sentences. There is one reference
    per hypothesis, in the same order; a hypothesis may be empty. Raises TextError for an empty reference, for no
    sentences, and for different numbers of hypotheses and references.
    """
    predicted, expected = _segmented_pair(hypotheses, references, language)
    chrf = _chrf()
    counts = bleu_counts(hypotheses, references, language).sum(0)
    metrics: dict[str, Any] = {f"BLEU-{n}": bleu(counts, n) for n in ORDERS}
    metrics["ROUGE-L"] = 100 * float(np.mean([rouge_l(p, e) for p, e in zip(predicted, expected, strict=True)]))
    metrics["chrF"] = float(chrf.corpus_score(predicted, [expected]).score)
    return metrics | {"signature": signatures(language)}


def sentence_scores(hypotheses: Sequence[str], references: Sequence[str], language: str) -> dict[str, np.ndarray]:
    """Return BLEU (effective order), ROUGE-L and chrF of each sentence, float64 [N] each, 0..100.

    Of these, only the mean of ROUGE-L equals the corpus score. Raises TextError.
    """
    predicted, expected = _segmented_pair(hypotheses, references, language)
    pairs = list(zip(predicted, expected, strict=True))
    sentence_bleu, chrf = _bleu(effective_order=True), _chrf()
    return {
        "BLEU": np.array([sentence_bleu.sentence_score(p, [e]).score for p, e in pairs]),
        "ROUGE-L": np.array([100 * rouge_l(p, e) for p, e in pairs]),
        "chrF": np.array([chrf.sentence_score(p, [e]).score for p, e in pairs]),
    }


def bleu_counts(hypotheses: Sequence[str], references: Sequence[str], language: str) -> np.ndarray:
    """Return the sufficient statistics of BLEU by sentence, int64 [N, 10]: lengths, matched n-grams, all n-grams (1-4).

    Their sum over any set of sentences gives its :func:`bleu`. Raises TextError.
    """
    predicted, expected = _segmented_pair(hypotheses, references, language)
    scorer = _bleu(effective_order=True)
    scores = [scorer.sentence_score(p, [e]) for p, e in zip(predicted, expected, strict=True)]
    return np.array([[s.sys_len, s.ref_len, *s.counts, *s.totals] for s in scores], np.int64)


def bleu(counts: np.ndarray, order: int = 4) -> float:
    """Return corpus BLEU up to ``order``, 0..100, of summed :func:`bleu_counts` [10] (exponential smoothing)."""
    from sacrebleu.metrics import BLEU

    predicted_length, expected_length, *ngrams = (int(value) for value in counts)
    correct, total = ngrams[:order], ngrams[len(ORDERS) : len(ORDERS) + order]
    result = BLEU.compute_bleu(
        correct, total, predicted_length, expected_length, smooth_method="exp", max_ngram_order=order
    )
    return float(result.score)


def signatures(language: str) -> dict[str, str]:
    """Return how BLEU, chrF and ROUGE-L are computed; for BLEU and chrF these are sacreBLEU's signatures."""
    suffix = "|split:characters" if is_unspaced(language) else ""
    corpus_bleu, chrf = _bleu(), _chrf()
    for metric in (corpus_bleu, chrf):
        metric.corpus_score(["a"], [["a"]])  # sets the number of references, which the signature contains
    return {
        "BLEU": f"{corpus_bleu.get_signature()}{suffix}",
        "chrF": f"{chrf.get_signature()}{suffix}",
        "ROUGE-L": f"nrefs:1|case:mixed|beta:{BETA}|tok:space|mean:sentences{suffix}",
    }


def _segmented_pair(hypotheses: Sequence[str], references: Sequence[str], language: str) -> tuple[list[str], list[str]]:
    """Return hypotheses and references as they are scored. Raises TextError."""
    if len(hypotheses) != len(references):
        raise TextError(f"{len(hypotheses)} translations for {len(references)} references: pass one for each")
    if not references:
        raise TextError("no sentences to score: choose another split")
    if empty := [i for i, text in enumerate(references) if not text.strip()]:
        raise TextError(f"reference {empty[0]} of {len(references)} is empty: leave out clips without a text")
    return segment(hypotheses, language), segment(references, language)


def _bleu(*, effective_order: bool = False) -> BLEU:
    from sacrebleu.metrics import BLEU

    # force: no warning about tokenized texts (PHOENIX-2014T separates full stops); the scores are the same.
    return BLEU(tokenize="13a", force=True, effective_order=effective_order)


def _chrf() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()
