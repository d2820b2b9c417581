"""How near translations are to their references: BLEU and chrF through sacreBLEU, ROUGE-L as caption work has it.

Texts are scored as they are written, case and punctuation included, over the whole corpus at once. Of languages that
put no space between words, characters are compared (the field's way for Chinese), and the signatures say so.
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
FIGURES = (*(f"BLEU-{n}" for n in ORDERS), "ROUGE-L", "chrF")
OF_SENTENCES = ("BLEU", "ROUGE-L", "chrF")
BETA = 1.2  # of ROUGE-L: weight of recall


def by_characters(language: str) -> bool:
    """Whether texts of a language (BCP 47) are compared character by character.

    >>> by_characters("zh-Hans"), by_characters("de")
    (True, False)
    """
    return language.split("-")[0].lower() in UNSPACED


def split(texts: Sequence[str], language: str) -> list[str]:
    """Texts as they are scored: unchanged, or with a space between any two characters.

    >>> split(["明天 有雨"], "zh"), split(["Morgen  Regen."], "de")
    (['明 天 有 雨'], ['Morgen  Regen.'])
    """
    if not by_characters(language):
        return list(texts)
    return [" ".join("".join(text.split())) for text in texts]


def rouge_l(hypothesis: str, reference: str) -> float:
    """ROUGE-L of one sentence, 0..1: (1 + b^2) P R / (R + b^2 P) of the longest common subsequence, b = 1.2.

    As ``pycocoevalcap.rouge.rouge.Rouge`` for one reference: tokens are what lies between single spaces, so that two
    spaces in a row, and the empty text, have empty tokens.
    """
    told, wanted = hypothesis.split(" "), reference.split(" ")
    common = _common(told, wanted)
    if not common:
        return 0.0
    precision, recall = common / len(told), common / len(wanted)
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of the table at a time."""
    above = [0] * (len(second) + 1)
    for token in first:
        row = [0]
        for place, other in enumerate(second):
            row.append(above[place] + 1 if token == other else max(above[place + 1], row[place]))
        above = row
    return above[-1]


def score(hypotheses: Sequence[str], references: Sequence[str], language: str) -> dict[str, Any]:
    """BLEU-1 to BLEU-4, ROUGE-L and chrF of a corpus, 0..100, and under ``signature`` how they were computed.

    BLEU-n is corpus BLEU up to order n (sacreBLEU, 13a); ROUGE-L the mean over sentences. One reference each, in the
    order of the hypotheses; a hypothesis may be empty. Raises TextError for an empty reference, no sentences at all,
    or hypotheses and references that differ in number.
    """
    told, wanted = checked(hypotheses, references, language)
    chrf = _chrf()
    counts = bleu_counts(hypotheses, references, language).sum(0)
    found: dict[str, Any] = {f"BLEU-{n}": bleu(counts, n) for n in ORDERS}
    found["ROUGE-L"] = 100 * float(np.mean([rouge_l(t, w) for t, w in zip(told, wanted, strict=True)]))
    found["chrF"] = float(chrf.corpus_score(told, [wanted]).score)
    return found | {"signature": signatures(language)}


def sentence_scores(hypotheses: Sequence[str], references: Sequence[str], language: str) -> dict[str, np.ndarray]:
    """BLEU (of the orders a sentence has), ROUGE-L and chrF of each sentence, float64 [N] each, 0..100.

    For tables of examples; only ROUGE-L is such that its mean is that of the corpus. Raises TextError.
    """
    told, wanted = checked(hypotheses, references, language)
    pairs = list(zip(told, wanted, strict=True))
    bleus, chrf = _bleu(effective=True), _chrf()
    return {
        "BLEU": np.array([bleus.sentence_score(t, [w]).score for t, w in pairs]),
        "ROUGE-L": np.array([100 * rouge_l(t, w) for t, w in pairs]),
        "chrF": np.array([chrf.sentence_score(t, [w]).score for t, w in pairs]),
    }


def bleu_counts(hypotheses: Sequence[str], references: Sequence[str], language: str) -> np.ndarray:
    """What BLEU needs of each sentence, int64 [N, 10]: lengths of both, n-grams found (1-4) and n-grams told (1-4).

    Summed over any sentences it gives their :func:`bleu`. Raises TextError.
    """
    told, wanted = checked(hypotheses, references, language)
    scorer = _bleu(effective=True)
    found = [scorer.sentence_score(t, [w]) for t, w in zip(told, wanted, strict=True)]
    return np.array([[s.sys_len, s.ref_len, *s.counts, *s.totals] for s in found], np.int64)


def bleu(counts: np.ndarray, order: int = 4) -> float:
    """Corpus BLEU up to ``order``, 0..100, of summed :func:`bleu_counts` [10]: sacreBLEU's, exponential smoothing."""
    from sacrebleu.metrics import BLEU

    told, wanted, *rest = (int(value) for value in counts)
    most = len(ORDERS)
    correct, total = rest[:order], rest[most : most + order]
    found = BLEU.compute_bleu(correct, total, told, wanted, smooth_method="exp", max_ngram_order=order)
    return float(found.score)


def signatures(language: str) -> dict[str, str]:
    """How BLEU, chrF and ROUGE-L are computed, for a report; sacreBLEU's own strings for its own."""
    how = "|split:characters" if by_characters(language) else ""
    bleus, chrf = _bleu(), _chrf()
    for metric in (bleus, chrf):
        metric.corpus_score(["a"], [["a"]])  # the number of references, which a signature has, is known only then
    return {
        "BLEU": f"{bleus.get_signature()}{how}",
        "chrF": f"{chrf.get_signature()}{how}",
        "ROUGE-L": f"nrefs:1|case:mixed|beta:{BETA}|tok:space|mean:sentences{how}",
    }


def checked(hypotheses: Sequence[str], references: Sequence[str], language: str) -> tuple[list[str], list[str]]:
    """Both as they are scored. Raises TextError."""
    if len(hypotheses) != len(references):
        raise TextError(f"{len(hypotheses)} translations for {len(references)} references: each needs one")
    if not references:
        raise TextError("no sentences to score: choose another split")
    if empty := [place for place, text in enumerate(references) if not text.strip()]:
        raise TextError(f"reference {empty[0]} of {len(references)} is empty: leave out clips without a text")
    return split(hypotheses, language), split(references, language)


def _bleu(*, effective: bool = False) -> BLEU:
    from sacrebleu.metrics import BLEU

    # force: no warning for texts whose full stop stands alone, as those of PHOENIX-2014T do; scores are the same.
    return BLEU(tokenize="13a", force=True, effective_order=effective)


def _chrf() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()
