"""Answers of a search with their verdicts, and how often each word is right."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from signatlas.evaluation.signs.space import Space
from signatlas.metrics.calibration import (
    calibration_noise,
    expected_calibration_error,
    shares_right,
    wilson_interval,
)
from signatlas.metrics.retrieval import bootstrap
from signatlas.retrieval.confidence import ABSENT_SHARES, NOT_FOUND, WORDS
from signatlas.retrieval.search import SignSearch, without
from signatlas.retrieval.shard import merge


class Answers(NamedTuple):
    """The verdicts on Q queries, each searched by either hand; all fields are arrays [Q].

    ``present`` says whether the index has a recording of the query's gloss, ``first`` and ``scores`` are id and score
    of the first hit ("" and -1 for none), ``right`` whether it has the query's gloss.
    """

    ids: np.ndarray
    glosses: np.ndarray
    sources: np.ndarray
    present: np.ndarray
    first: np.ndarray
    scores: np.ndarray
    verdicts: np.ndarray
    right: np.ndarray

    def of(self, chosen: np.ndarray) -> Answers:
        """Return the chosen queries, by a mask or positions."""
        return Answers(*(values[chosen] for values in self))


def answer(search: SignSearch, queries: Space) -> Answers:
    """Return the verdicts on queries with mirrored vectors, each searched without its own recording."""
    rows = search.index_version.rows()
    glosses = dict(zip(rows["id"].to_pylist(), rows["gloss"].to_pylist(), strict=True))
    known = set(glosses.values()) - {None}
    sides = [] if queries.mirrored is None or not len(queries) else [queries.vectors, queries.mirrored]
    rankings = [search.rank(np.ascontiguousarray(side, np.float32), 2) for side in sides]
    best = [without(merge(both, 2), id, 1) for both, id in zip(zip(*rankings, strict=True), queries.ids, strict=True)]
    confidence = search.index_version.manifest.confidence
    first = np.array([hits[0][0] if hits else "" for hits in best], dtype=object)
    return Answers(
        ids=queries.ids,
        glosses=queries.glosses,
        sources=queries.column("source"),
        present=np.array([gloss in known for gloss in queries.glosses], bool),
        first=first,
        scores=np.array([hits[0][1] if hits else -1.0 for hits in best], np.float64),
        verdicts=np.array([confidence.verdict(hits[0][1] if hits else None) for hits in best], dtype=object),
        right=np.array([glosses.get(id) == g for id, g in zip(first, queries.glosses, strict=True)], bool),
    )


def summarize(dev: Answers, test: Answers, seed: int = 0) -> dict[str, Any]:
    """Return ``words``, ``calibration_error`` and ``rates`` of a report.

    A word promises the share of right answers among dev queries of present signs that got it. The expected calibration
    error compares this with the share on test; once for present signs, once as if every second query were for a sign
    that the index lacks, none of which can be right. Words that no dev query got promise nothing.
    """
    words = [_word(word, dev, test) for word in WORDS]
    errors = {"present signs": _error(dev.of(dev.present), test.of(test.present), seed)}
    if dev.present.any() and not dev.present.all() and not test.present.all():
        errors["every second sign absent"] = _error(dev, test, seed)
    present, absent = test.of(test.present), test.of(~test.present)
    probable = present.verdicts == "probable"
    rates = {
        "wrong but probable, of present signs": (probable & ~present.right, present),
        "wrong, of those called probable": (~present.right[probable], present.of(probable)),
        "not found, of present signs": (present.verdicts == NOT_FOUND, present),
        "found, of absent signs": (absent.verdicts != NOT_FOUND, absent),
        "probable, of absent signs": (absent.verdicts == "probable", absent),
    }
    return {
        "words": words,
        "first_hit_right": _share(int(present.right.sum()), len(present.ids)),
        "calibration_error": errors,
        "rates": {name: _share(int(chosen.sum()), len(of.ids)) for name, (chosen, of) in rates.items()},
    }


def _word(word: str, dev: Answers, test: Answers) -> dict[str, Any]:
    absent = ~test.present
    row: dict[str, Any] = {"word": word}
    for name, answers in (("dev", dev), ("test", test)):
        chosen = answers.present & (answers.verdicts == word)
        row[name] = _share(int(answers.right[chosen].sum()), int(chosen.sum()))
    row["absent"] = _share(int((test.verdicts[absent] == word).sum()), int(absent.sum()))
    return row | {"absent_by_design": ABSENT_SHARES[word]}


def _share(count: int, total: int) -> dict[str, Any]:
    return {
        "count": count,
        "total": total,
        "share": count / total if total else None,
        "interval": wilson_interval(count, total) if total else None,
    }


def _error(dev: Answers, test: Answers, seed: int) -> dict[str, Any] | None:
    """Return the expected calibration error with its bootstrap interval over test queries; None without dev queries."""
    promised = shares_right(dev.verdicts, dev.right, _weights(dev)) if len(dev.ids) else {}
    known = np.isin(test.verdicts.astype(str), list(promised))
    if not known.any():
        return None
    test = test.of(known)

    def error(chosen: np.ndarray) -> float:
        part = test.of(chosen)
        return expected_calibration_error(part.verdicts, part.right, promised, _weights(part))

    everything = np.arange(len(test.ids))
    return {
        "error": error(everything),
        "interval": bootstrap(everything, error, seed=seed),
        # Where absent signs count as well, right answers are no draws of one binomial distribution a word.
        "if_exact": calibration_noise(test.verdicts, promised, seed=seed) if test.present.all() else None,
        "promised": promised,
        "measured": shares_right(test.verdicts, test.right, _weights(test)),
        "queries": len(test.ids),
        "without_promise": int((~known).sum()),
    }


def _weights(answers: Answers) -> np.ndarray:
    """Return weights [Q] by which present and absent signs count half each, where there are both."""
    counts = np.array([max(1, (~answers.present).sum()), max(1, answers.present.sum())])
    return np.asarray(1 / counts[answers.present.astype(int)])
