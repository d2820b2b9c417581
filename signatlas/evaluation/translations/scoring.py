"""Translations judged: beside two controls, with paired intervals, and by whether training had the text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from signatlas.corpus.texts import tokens
from signatlas.errors import ModelError, TextError
from signatlas.evaluation.sentences.sentence_set import text_of
from signatlas.metrics import translation as metrics
from signatlas.text.language import check_language

Row = dict[str, Any]
MODEL, NEAREST, FREQUENT = "model", "nearest training clip", "most frequent sentence"
CONTROLS = (NEAREST, FREQUENT)
TESTED = ("BLEU-4", "ROUGE-L")  # what has intervals
BLOCK = 1024


@dataclass(frozen=True)
class TranslationSet:
    """The clips asked for and those of training, with their texts in one language."""

    language: str
    ids: list[str]
    references: list[str]
    train_ids: list[str]
    train_texts: list[str]
    left_out: int  # clips asked for that have no text, or more glosses than wanted

    def seen(self) -> np.ndarray:
        """bool [N]: whether a reference is a training text, but for case and punctuation."""
        known = {tokens(text, self.language) for text in self.train_texts}
        return np.array([tokens(text, self.language) in known for text in self.references])


def translation_set(
    rows: Iterable[Row],
    split: str,
    language: str,
    where: str,
    *,
    max_glosses: int | None = None,
    limit: int | None = None,
) -> TranslationSet:
    """The clips of ``split`` and of train that have a text; ``where`` names the corpus in errors.

    ``max_glosses`` leaves out longer clips of both, ``limit`` keeps the first training clips by id: what the training
    of a model saw. Raises TextError when no clip of the split has a text in ``language``.
    """
    rows = list(rows)
    known = sorted({text["language"] for row in rows for text in row["texts"] or ()})
    if not known:
        raise TextError(f"{where} has no texts to compare translations with: choose another --corpus")
    try:
        language = check_language(language, known)
    except TextError as error:
        raise TextError(f"{where} has {error}; the model writes '{language}'") from error
    asked, kept = _usable(rows, split, language, max_glosses)
    if not kept:
        raise TextError(f"{where}: no clip of split {split} has a text in '{language}' to compare with")
    train = sorted(_usable(rows, "train", language, max_glosses)[1])[:limit]
    return TranslationSet(
        language, [id for id, _ in kept], [text for _, text in kept], [id for id, _ in train],
        [text for _, text in train], asked - len(kept),
    )  # fmt: skip


def _usable(rows: Sequence[Row], split: str, language: str, most: int | None) -> tuple[int, list[tuple[str, str]]]:
    """How many clips a split has, and (id, text) of those that take part."""
    mine = [row for row in rows if row["split"] == split]
    short = [row for row in mine if most is None or not row["glosses"] or len(row["glosses"]) <= most]
    return len(mine), [(row["id"], text) for row in short if (text := text_of(row, language))]


def most_frequent(texts: Sequence[str]) -> tuple[str, int]:
    """The text that occurs most often, the first of them among equals, and how often."""
    return Counter(texts).most_common(1)[0]


def nearest(
    queries: np.ndarray, gallery: np.ndarray, own: Sequence[int | None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """For each of ``queries`` [Q, E] the row of ``gallery`` [G, E] of highest cosine, int64 [Q], and that cosine [Q].

    The first among equals. ``own``: for each query the row that is the query itself and may not answer, or None.
    Raises ModelError for vectors that are not finite.
    """
    if broken := int((~np.isfinite(queries)).any(1).sum() + (~np.isfinite(gallery)).any(1).sum()):
        raise ModelError(f"{broken} clips have token vectors that are not finite: train the model again")
    found, score = np.zeros(len(queries), np.int64), np.zeros(len(queries), np.float32)
    rows = _unit(gallery)
    for start in range(0, len(queries), BLOCK):
        cosine = _unit(queries[start : start + BLOCK]) @ rows.T
        for row, same in enumerate(own[start : start + BLOCK] if own else ()):
            if same is not None:
                cosine[row, same] = -np.inf
        # Equal clips should be equal here too: beyond six digits it is rounding that decides.
        best = np.round(cosine, 6).argmax(1)
        found[start : start + BLOCK], score[start : start + BLOCK] = best, cosine[np.arange(len(best)), best]
    return found, score


def _unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), np.float32)


@dataclass(frozen=True)
class Judged:
    """What several systems (the model, its controls) say of the same clips, and what each sentence scores."""

    asked: TranslationSet
    told: dict[str, list[str]]  # hypotheses by system
    counts: dict[str, np.ndarray]  # of BLEU, [N, 10]
    scores: dict[str, dict[str, np.ndarray]]  # metrics.sentence_scores

    def results(self) -> list[dict[str, Any]]:
        """All figures of each system: of all clips, and of those whose text training had (seen) or not (new)."""
        seen = self.asked.seen()
        parts = {"all": np.ones(len(seen), bool), "new": ~seen, "seen": seen}
        found = []
        for subset, mask in parts.items():
            if mask.any() and (subset == "all" or not mask.all()):
                found += [self._result(system, subset, np.flatnonzero(mask)) for system in self.told]
        return found

    def _result(self, system: str, subset: str, rows: np.ndarray) -> dict[str, Any]:
        told, wanted = ([texts[i] for i in rows] for texts in (self.told[system], self.asked.references))
        figures = metrics.score(told, wanted, self.asked.language)
        return {"system": system, "subset": subset, "clips": len(rows), **{n: figures[n] for n in metrics.FIGURES}}

    def described(self, system: str = MODEL) -> dict[str, Any]:
        """How a system writes: shares 0..1 of texts that are training texts to the letter and of empty ones,
        how many are distinct, and the mean of length over the reference's length, in tokens of BLEU."""
        told, known = self.told[system], set(self.asked.train_texts)
        lengths = self.counts[system][:, :2]
        return {
            "verbatim": float(np.mean([text in known for text in told])),
            "empty": float(np.mean([not text.strip() for text in told])),
            "distinct": len(set(told)),
            "distinct_references": len(set(self.asked.references)),
            "length_ratio": float(np.mean(lengths[:, 0] / np.maximum(lengths[:, 1], 1))),
        }


def judged(asked: TranslationSet, told: Mapping[str, Sequence[str]]) -> Judged:
    """Score each system's texts, in the order of ``asked``. Raises TextError."""
    pairs = {name: (list(texts), asked.references, asked.language) for name, texts in told.items()}
    return Judged(
        asked,
        {name: texts for name, (texts, _, _) in pairs.items()},
        {name: metrics.bleu_counts(*pair) for name, pair in pairs.items()},
        {name: metrics.sentence_scores(*pair) for name, pair in pairs.items()},
    )


def bootstrap(found: Judged, *, samples: int = 2000, seed: int = 0, level: float = 0.95) -> dict[str, Any]:
    """Percentile intervals of ``TESTED`` by resampling clips (Koehn 2004), the same clips for every system.

    Returns ``intervals`` by system and figure, (low, high); and ``differences``, of the model to each other system:
    the observed difference, its interval, ``share`` of resamples in which the model is not better, and ``beats``:
    whether the whole interval is above 0.
    """
    values = resampled(found.counts, {n: s["ROUGE-L"] for n, s in found.scores.items()}, samples=samples, seed=seed)
    ends = [(1 - level) / 2, (1 + level) / 2]

    def interval(drawn: np.ndarray) -> tuple[float, float]:
        low, high = np.quantile(drawn, ends)
        return float(low), float(high)

    observed = {name: _figures(found.counts[name].sum(0), s["ROUGE-L"].mean()) for name, s in found.scores.items()}
    differences: dict[str, Any] = {}
    for name in found.told:
        if name != MODEL:
            differences[name] = {}
            for place, figure in enumerate(TESTED):
                drawn = values[MODEL][:, place] - values[name][:, place]
                low, high = interval(drawn)
                differences[name][figure] = {
                    "difference": float(observed[MODEL][place] - observed[name][place]), "interval": (low, high),
                    "share": float(np.mean(drawn <= 0)), "beats": low > 0,
                }  # fmt: skip
    intervals = {n: {f: interval(drawn[:, place]) for place, f in enumerate(TESTED)} for n, drawn in values.items()}
    return {"samples": samples, "seed": seed, "intervals": intervals, "differences": differences}


def resampled(
    counts: Mapping[str, np.ndarray], rouge: Mapping[str, np.ndarray], *, samples: int, seed: int
) -> dict[str, np.ndarray]:
    """``TESTED`` of each system in each resample, float64 [samples, 2]; a resample has the same clips for all."""
    size = len(next(iter(rouge.values())))
    rng = np.random.default_rng(seed)
    drawn: dict[str, np.ndarray] = {name: np.zeros((samples, len(TESTED))) for name in rouge}
    for row in range(samples):
        often = np.bincount(rng.integers(size, size=size), minlength=size)
        for name in rouge:
            drawn[name][row] = _figures(often @ counts[name], often @ rouge[name] / size)
    return drawn


def _figures(counts: np.ndarray, rouge: float) -> tuple[float, float]:
    return metrics.bleu(counts), float(rouge)


def examples(found: Judged, *, each: int = 6, seed: int = 0) -> dict[str, list[int]]:
    """Rows for a table: best and worst by ROUGE-L and then chrF, and some drawn at random; no text twice."""
    scores = found.scores[MODEL]
    order = np.lexsort((np.arange(len(found.asked.ids)), -scores["chrF"], -scores["ROUGE-L"])).tolist()
    drawn = np.random.default_rng(seed).permutation(len(order)).tolist()
    taken: set[tuple[str, str]] = set()

    def chosen(rows: Sequence[int]) -> list[int]:
        kept: list[int] = []
        for row in rows:
            pair = (found.asked.references[row], found.told[MODEL][row])
            if len(kept) < each and pair not in taken:
                taken.add(pair)
                kept.append(int(row))
        return kept

    return {"best": chosen(order), "worst": chosen(order[::-1]), "random": chosen(drawn)}
