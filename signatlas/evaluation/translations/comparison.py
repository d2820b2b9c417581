"""Compare evaluations of translation: metrics side by side, and differences to the first evaluation or its seeds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from signatlas.errors import UserError
from signatlas.evaluation.report import ReportTable, read_report, run_name, seedless_name
from signatlas.evaluation.significance import (
    DIFFERENCE_HEADER,
    SAMPLES,
    add_holm,
    bootstrap_p,
    difference_row,
    percentile_interval,
    resample_seeds,
)
from signatlas.evaluation.translations.report import HYPOTHESES, PROTOCOL, read_hypotheses
from signatlas.evaluation.translations.scoring import MODEL, TESTED, resample
from signatlas.metrics import translation as metrics

Arm = Sequence[int]  # indices of the seeds of one run among the evaluations


class SavedEvaluation(NamedTuple):
    """A saved evaluation: its name, report, and the rows of its texts."""

    name: str
    report: dict[str, Any]
    rows: list[dict[str, Any]]

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the model on all clips."""
        result = next(r for r in self.report["results"] if (r["system"], r["subset"]) == (MODEL, "all"))
        return {name: float(result[name]) for name in metrics.METRICS}

    def arm(self) -> str:
        """Return the name that all seeds of a run share."""
        return seedless_name(self.name, self.report["model"]["record"].get("seed"))

    @property
    def references(self) -> list[tuple[str, str]]:
        """Clip id and reference of each row."""
        return [(row["id"], row["reference"]) for row in self.rows]


def read(folder: str | os.PathLike[str]) -> SavedEvaluation:
    """Read the folder that ``signatlas evaluate`` wrote for a translator. Raises UserError."""
    path, report = read_report(folder)
    if report["protocol"] != PROTOCOL:
        raise UserError(f"{path} is not an evaluation of translations (protocol {report['protocol']}): leave it out")
    try:
        saved = SavedEvaluation(run_name(report["model"]["path"]), report, read_hypotheses(path))
        if not saved.rows or not saved.references[0][0] or not saved.metrics:
            raise ValueError("no texts")
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise UserError(
            f"{path} has no readable report.json and {HYPOTHESES} ({error}): evaluate the model again"
        ) from error
    return saved


def compare(
    saved: Sequence[SavedEvaluation], measure: str = "BLEU-4", seed: int = 0, *, mean: bool = False
) -> list[dict[str, Any]]:
    """Return a row per evaluation, or with ``mean`` per arm: all seeds of a run (NAME_0, NAME_1) on a corpus and split.

    A row has all metrics, the 95 % ``interval`` of ``measure``, and the ``difference`` to the first row over the same
    clips (``observed``, ``interval``, two-sided ``p``, and ``p_holm``, after Holm's correction over all comparisons),
    None where clips or references differ. All are those of a paired bootstrap over clips (Koehn 2004). With ``mean``,
    metrics are means over seeds, with the ``ranges`` of all metrics, and the bootstrap is the two-level one over seeds
    and clips (:mod:`signatlas.evaluation.significance`). Raises UserError for an unknown measure.
    """
    if measure not in TESTED:
        raise UserError(f"unknown --by '{measure}', choose from {', '.join(TESTED)}")
    resampled = _resample(saved, measure, seed)
    arms = _arms(saved, mean)
    rows = []
    for number, arm in enumerate(arms):
        values = {name: [saved[i].metrics[name] for i in arm] for name in metrics.METRICS}
        row = _describe(saved, arm, mean) | {name: float(np.mean(each)) for name, each in values.items()}
        if mean:
            row["ranges"] = {name: (min(each), max(each)) for name, each in values.items()}
        row["interval"] = _interval(saved, resampled, arm, seed, number)
        row["difference"] = _difference(saved, resampled, arms, number, measure, seed) if number else None
        rows.append(row)
    add_holm(row["difference"] for row in rows if row["difference"])
    return rows


def _arms(saved: Sequence[SavedEvaluation], mean: bool) -> list[Arm]:
    """Return the evaluations one by one, or with ``mean`` grouped by run without its seed, language, corpus, split."""
    if not mean:
        return [[i] for i in range(len(saved))]
    arms: dict[tuple[Any, ...], list[int]] = {}
    for i, one in enumerate(saved):
        key = (one.arm(), one.report["language"], one.report["corpus"]["name"], one.report["split"])
        arms.setdefault(key, []).append(i)
    return list(arms.values())


def _describe(saved: Sequence[SavedEvaluation], arm: Arm, mean: bool) -> dict[str, Any]:
    first = saved[arm[0]]
    corpus, record = first.report["corpus"], first.report["model"]["record"]
    return {
        "run": f"{first.arm()} ({len(arm)})" if mean else first.name,
        "language": first.report["language"],
        "corpus": corpus["name"],
        "split": first.report["split"],
        "synthetic": corpus["synthetic"],
        "clips": len(first.rows),
        "recipe": record.get("recipe"),
        "seeds": [saved[i].report["model"]["record"].get("seed") for i in arm],
    }


def _resample(saved: Sequence[SavedEvaluation], measure: str, seed: int) -> list[np.ndarray]:
    """Return ``measure`` of each evaluation in each resample [samples]; the same clips for equal references."""
    counts, rouge = {}, {}
    for i, one in enumerate(saved):
        pair = [row["hypothesis"] for row in one.rows], [reference for _, reference in one.references]
        counts[str(i)] = metrics.bleu_counts(*pair, one.report["language"])
        rouge[str(i)] = metrics.sentence_scores(*pair, one.report["language"])["ROUGE-L"]
    resampled: dict[str, np.ndarray] = {}
    for i, one in enumerate(saved):
        if str(i) not in resampled:
            same = [str(j) for j, other in enumerate(saved) if other.references == one.references]
            part = ({name: values[name] for name in same} for values in (counts, rouge))
            resampled |= resample(*part, samples=SAMPLES, seed=seed)
    return [resampled[str(i)][:, TESTED.index(measure)] for i in range(len(saved))]


def _same_clips(saved: Sequence[SavedEvaluation], members: Arm) -> bool:
    return all(saved[i].references == saved[members[0]].references for i in members)


def _interval(
    saved: Sequence[SavedEvaluation], resampled: Sequence[np.ndarray], arm: Arm, seed: int, number: int
) -> tuple[float, float] | None:
    if not _same_clips(saved, arm):
        return None
    return percentile_interval(resample_seeds(np.stack([resampled[i] for i in arm]), seed=seed, arm=number))


def _difference(
    saved: Sequence[SavedEvaluation],
    resampled: Sequence[np.ndarray],
    arms: Sequence[Arm],
    number: int,
    measure: str,
    seed: int,
) -> dict[str, Any] | None:
    """Return the difference of arm ``number`` to the first arm; None where clips or references differ."""
    first, second = arms[0], arms[number]
    if not _same_clips(saved, [*first, *second]):
        return None
    numbered = ((0, first), (number, second))
    means = [resample_seeds(np.stack([resampled[i] for i in arm]), seed=seed, arm=n) for n, arm in numbered]
    observed = [np.mean([saved[i].metrics[measure] for i in arm]) for arm in (first, second)]
    differences = means[1] - means[0]
    return {
        "measure": measure,
        "observed": float(observed[1] - observed[0]),
        "interval": percentile_interval(differences),
        "p": bootstrap_p(differences),
    }


def tables(rows: Sequence[dict[str, Any]], measure: str) -> list[ReportTable]:
    """Return the table of metrics and that of the differences to the first row."""
    averaged = "ranges" in rows[0]
    header = ["run", *metrics.METRICS, f"{measure} 95 %", *([f"range of {measure}"] if averaged else [])]
    cells = []
    for row in rows:
        line = [row["run"], *(f"{row[name]:.2f}" for name in metrics.METRICS)]
        line.append("-".join(f"{end:.2f}" for end in row["interval"] or ()))
        cells.append(line + (["-".join(f"{end:.2f}" for end in row["ranges"][measure])] if averaged else []))
    differences = [difference_row(row["run"], row["difference"], "{:+.2f}".format) for row in rows if row["difference"]]
    title = f"{measure} against {rows[0]['run']}"
    return [
        ReportTable("", header, cells, ()),
        *([ReportTable(title, DIFFERENCE_HEADER, differences, ())] if differences else []),
    ]
