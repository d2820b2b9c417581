"""Score translations against two controls, with paired bootstrap intervals, for texts seen in training and new ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from signatlas.corpus.texts import tokens
from signatlas.errors import ModelError, TextError
from signatlas.evaluation.sentences.items import first_text
from signatlas.evaluation.significance import one_sided_p
from signatlas.metrics import translation as metrics
from signatlas.text.language import check_language

Row = dict[str, Any]
MODEL, NEAREST, FREQUENT = "model", "nearest training clip", "most frequent sentence"
CONTROLS = (NEAREST, FREQUENT)
TESTED = ("BLEU-4", "ROUGE-L")  # metrics with intervals
BLOCK = 1024


@dataclass(frozen=True)
class TranslationItems:
    """The clips of the evaluated split and of training, with their texts in one language."""

    language: str
    ids: list[str]
    references: list[str]
    train_ids: list[str]
    train_texts: list[str]
    left_out: int  # clips of the split without a text or with more glosses than max_glosses

    def seen(self) -> np.ndarray:
        """Return bool [N]: whether a reference is a training text, ignoring case and punctuation."""
        known = {tokens(text, self.language) for text in self.train_texts}
        return np.array([tokens(text, self.language) in known for text in self.references])


def collect_items(
    rows: Iterable[Row],
    split: str,
    language: str,
    source: str,
    *,
    max_glosses: int | None = None,
    limit: int | None = None,
) -> TranslationItems:
    """Return the clips of ``split`` and of train that have a text; errors name the ``source`` of the rows.

    ``max_glosses`` leaves out longer clips of both, ``limit`` keeps the first training clips by id, as training did.
    Raises TextError when no clip of the split has a text in ``language``.
    """
    rows = list(rows)
    available = sorted({text["language"] for row in rows for text in row["texts"] or ()})
    if not available:
        raise TextError(f"{source} has no texts to compare translations with: choose another --corpus")
    try:
        language = check_language(language, available)
    except TextError as error:
        raise TextError(f"{source} has {error}; the model translates into '{language}'") from error
    total, usable = _usable(rows, split, language, max_glosses)
    if not usable:
        raise TextError(f"{source}: no clip of split {split} has a text in '{language}' to compare with")
    train = sorted(_usable(rows, "train", language, max_glosses)[1])[:limit]
    return TranslationItems(
        language, [id for id, _ in usable], [text for _, text in usable], [id for id, _ in train],
        [text for _, text in train], total - len(usable),
    )  # fmt: skip


def _usable(
    rows: Sequence[Row], split: str, language: str, max_glosses: int | None
) -> tuple[int, list[tuple[str, str]]]:
    """Return the number of clips of a split, and (id, text) of those that take part."""
    in_split = [row for row in rows if row["split"] == split]
    short = [row for row in in_split if max_glosses is None or not row["glosses"] or len(row["glosses"]) <= max_glosses]
    return len(in_split), [(row["id"], text) for row in short if (text := first_text(row, language))]


def most_frequent(texts: Sequence[str]) -> tuple[str, int]:
    """Return the most frequent text (the first among equals) and its count."""
    return Counter(texts).most_common(1)[0]


def nearest(
    queries: np.ndarray, gallery: np.ndarray, own_rows: Sequence[int | None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of ``gallery`` [G, E] with the highest cosine to each of ``queries`` [Q, E], and the cosines [Q].

    The first among equals. ``own_rows`` are the rows that hold the query itself and are excluded, or None. Raises
    ModelError for NaN and infinite vectors.
    """
    if invalid := int((~np.isfinite(queries)).any(1).sum() + (~np.isfinite(gallery)).any(1).sum()):
        raise ModelError(f"{invalid} clips have token vectors that are not finite: train the model again")
    rows, cosines = np.zeros(len(queries), np.int64), np.zeros(len(queries), np.float32)
    normalized = _unit(gallery)
    for start in range(0, len(queries), BLOCK):
        block = slice(start, start + BLOCK)
        cosine = _unit(queries[block]) @ normalized.T
        for q, own_row in enumerate(own_rows[block] if own_rows else ()):
            if own_row is not None:
                cosine[q, own_row] = -np.inf
        # Identical clips should tie: beyond six digits rounding would decide.
        best = np.round(cosine, 6).argmax(1)
        rows[block], cosines[block] = best, cosine[np.arange(len(best)), best]
    return rows, cosines


def _unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), np.float32)


@dataclass(frozen=True)
class ScoredTranslations:
    """The texts of several systems (the model, its controls) for the same clips, and their scores by sentence."""

    items: TranslationItems
    hypotheses: dict[str, list[str]]  # by system
    counts: dict[str, np.ndarray]  # metrics.translation.bleu_counts by system, [N, 10]
    scores: dict[str, dict[str, np.ndarray]]  # metrics.translation.sentence_scores by system

    def results(self) -> list[dict[str, Any]]:
        """Return all metrics of each system: for all clips, and for texts seen in training and new texts."""
        seen = self.items.seen()
        subsets = {"all": np.ones(len(seen), bool), "new": ~seen, "seen": seen}
        results = []
        for subset, mask in subsets.items():
            if mask.any() and (subset == "all" or not mask.all()):
                results += [self._result(system, subset, np.flatnonzero(mask)) for system in self.hypotheses]
        return results

    def _result(self, system: str, subset: str, rows: np.ndarray) -> dict[str, Any]:
        hypotheses, references = (
            [texts[i] for i in rows] for texts in (self.hypotheses[system], self.items.references)
        )
        values = metrics.score(hypotheses, references, self.items.language)
        return {"system": system, "subset": subset, "clips": len(rows), **{n: values[n] for n in metrics.METRICS}}

    def text_statistics(self, system: str = MODEL) -> dict[str, Any]:
        """Return shares 0..1 of verbatim training texts and of empty texts, numbers of distinct texts, length ratio.

        The length ratio is the mean over sentences of hypothesis length over reference length, in tokens of BLEU.
        """
        hypotheses, known = self.hypotheses[system], set(self.items.train_texts)
        lengths = self.counts[system][:, :2]
        return {
            "verbatim": float(np.mean([text in known for text in hypotheses])),
            "empty": float(np.mean([not text.strip() for text in hypotheses])),
            "distinct": len(set(hypotheses)),
            "distinct_references": len(set(self.items.references)),
            "length_ratio": float(np.mean(lengths[:, 0] / np.maximum(lengths[:, 1], 1))),
        }


def score_translations(items: TranslationItems, hypotheses: Mapping[str, Sequence[str]]) -> ScoredTranslations:
    """Score each system's texts, in the order of ``items``. Raises TextError."""
    pairs = {name: (list(texts), items.references, items.language) for name, texts in hypotheses.items()}
    return ScoredTranslations(
        items,
        {name: texts for name, (texts, _, _) in pairs.items()},
        {name: metrics.bleu_counts(*pair) for name, pair in pairs.items()},
        {name: metrics.sentence_scores(*pair) for name, pair in pairs.items()},
    )


def bootstrap(scored: ScoredTranslations, *, samples: int = 2000, seed: int = 0, level: float = 0.95) -> dict[str, Any]:
    """Return percentile intervals of ``TESTED`` by resampling clips (Koehn 2004), the same clips for every system.

    ``intervals`` (low, high) by system and metric; ``differences`` of the model to each other system: the observed
    ``difference``, its ``interval``, one-sided ``p`` that the model is better, and ``beats``: whether the whole
    interval is above 0.
    """
    rouge = {name: scores["ROUGE-L"] for name, scores in scored.scores.items()}
    values = resample(scored.counts, rouge, samples=samples, seed=seed)
    ends = [(1 - level) / 2, (1 + level) / 2]

    def interval(resampled: np.ndarray) -> tuple[float, float]:
        low, high = np.quantile(resampled, ends)
        return float(low), float(high)

    observed = {name: _tested_metrics(scored.counts[name].sum(0), rouge[name].mean()) for name in rouge}
    differences: dict[str, Any] = {}
    for name in scored.hypotheses:
        if name != MODEL:
            differences[name] = {}
            for i, metric in enumerate(TESTED):
                resampled = values[MODEL][:, i] - values[name][:, i]
                low, high = interval(resampled)
                differences[name][metric] = {
                    "difference": float(observed[MODEL][i] - observed[name][i]), "interval": (low, high),
                    "p": one_sided_p(resampled), "beats": low > 0,
                }  # fmt: skip
    intervals = {
        name: {metric: interval(resampled[:, i]) for i, metric in enumerate(TESTED)}
        for name, resampled in values.items()
    }
    return {"samples": samples, "seed": seed, "intervals": intervals, "differences": differences}


def resample(
    counts: Mapping[str, np.ndarray], rouge: Mapping[str, np.ndarray], *, samples: int, seed: int
) -> dict[str, np.ndarray]:
    """Return ``TESTED`` of each system in each resample, float64 [samples, 2]; all systems have the same clips."""
    size = len(next(iter(rouge.values())))
    rng = np.random.default_rng(seed)
    resampled: dict[str, np.ndarray] = {name: np.zeros((samples, len(TESTED))) for name in rouge}
    for row in range(samples):
        multiplicity = np.bincount(rng.integers(size, size=size), minlength=size)
        for name in rouge:
            resampled[name][row] = _tested_metrics(multiplicity @ counts[name], multiplicity @ rouge[name] / size)
    return resampled


def _tested_metrics(counts: np.ndarray, rouge: float) -> tuple[float, float]:
    return metrics.bleu(counts), float(rouge)


def examples(scored: ScoredTranslations, *, each: int = 6, seed: int = 0) -> dict[str, list[int]]:
    """Return rows for a table: best and worst by ROUGE-L and chrF, and random ones; no pair of texts twice."""
    scores = scored.scores[MODEL]
    order = np.lexsort((np.arange(len(scored.items.ids)), -scores["chrF"], -scores["ROUGE-L"])).tolist()
    shuffled = np.random.default_rng(seed).permutation(len(order)).tolist()
    used: set[tuple[str, str]] = set()

    def choose(rows: Sequence[int]) -> list[int]:
        chosen: list[int] = []
        for row in rows:
            pair = (scored.items.references[row], scored.hypotheses[MODEL][row])
            if len(chosen) < each and pair not in used:
                used.add(pair)
                chosen.append(int(row))
        return chosen

    return {"best": choose(order), "worst": choose(order[::-1]), "random": choose(shuffled)}
