"""Compare evaluations of translation: metrics side by side, and paired bootstrap against the first evaluation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from signatlas.errors import UserError
from signatlas.evaluation.report import ReportTable, read_report, run_name, seedless_name
from signatlas.evaluation.significance import add_holm, bootstrap_p, format_p, percentile_interval
from signatlas.evaluation.translations.report import HYPOTHESES, PROTOCOL, read_hypotheses
from signatlas.evaluation.translations.scoring import MODEL, TESTED, resample
from signatlas.metrics import translation as metrics

SAMPLES = 1000


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


def compare(saved: Sequence[SavedEvaluation], measure: str = "BLEU-4", seed: int = 0) -> list[dict[str, Any]]:
    """Return a row per evaluation: its metrics, and over the same clips the difference of ``measure`` to the first.

    ``difference`` has the ``observed`` one, its 95 % ``interval``, two-sided ``p`` (Koehn 2004) and ``p_holm``, after
    Holm's correction over all comparisons; it is None where clips or references differ. Raises UserError for an unknown
    measure.
    """
    resampled = _resample(saved, measure, seed)
    rows: list[dict[str, Any]] = []
    for i, one in enumerate(saved):
        record = one.report["model"]["record"]
        row = {"run": one.name, "language": one.report["language"], "corpus": one.report["corpus"]["name"],
               "split": one.report["split"], "synthetic": one.report["corpus"]["synthetic"], "clips": len(one.rows),
               "recipe": record.get("recipe"), "seed": record.get("seed")}  # fmt: skip
        rows.append(row | one.metrics | {"difference": _difference(saved, resampled, [0], [i], measure)})
    add_holm(row["difference"] for row in rows if row["difference"])
    return rows


def compare_means(saved: Sequence[SavedEvaluation], measure: str = "BLEU-4", seed: int = 0) -> list[dict[str, Any]]:
    """Return one row for all seeds of a run (NAME_0, NAME_1) and corpus: means, and ``ranges`` of every metric.

    ``difference`` is that of the means to the first row's. Its interval is over clips, not over seeds.
    """
    rows, resampled = compare(saved, measure, seed), _resample(saved, measure, seed)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, row in enumerate(rows):
        name = seedless_name(row["run"], row["seed"])
        groups.setdefault((name, row["language"], row["corpus"], row["split"]), []).append(i)
    result, first = [], next(iter(groups.values()))
    for (name, *_), members in groups.items():
        values = {metric: [rows[i][metric] for i in members] for metric in metrics.METRICS}
        means = {metric: float(np.mean(each)) for metric, each in values.items()}
        ranges = {metric: (min(each), max(each)) for metric, each in values.items()}
        row = {**rows[members[0]], "run": f"{name} ({len(members)})", "ranges": ranges, **means}
        result.append(row | {"difference": _difference(saved, resampled, first, members, measure)})
    add_holm(row["difference"] for row in result if row["difference"])
    return result


def _resample(saved: Sequence[SavedEvaluation], measure: str, seed: int) -> dict[int, np.ndarray]:
    """Return by index ``measure`` in each resample [samples], for evaluations with the first one's references."""
    if measure not in TESTED:
        raise UserError(f"unknown --by '{measure}', choose from {', '.join(TESTED)}")
    counts, rouge = {}, {}
    for i, one in enumerate(saved):
        if one.references == saved[0].references:
            pair = [row["hypothesis"] for row in one.rows], [reference for _, reference in one.references]
            counts[str(i)] = metrics.bleu_counts(*pair, one.report["language"])
            rouge[str(i)] = metrics.sentence_scores(*pair, one.report["language"])["ROUGE-L"]
    resampled = resample(counts, rouge, samples=SAMPLES, seed=seed)
    return {int(i): values[:, TESTED.index(measure)] for i, values in resampled.items()}


def _difference(
    saved: Sequence[SavedEvaluation], resampled: dict[int, np.ndarray], first: list[int], second: list[int],
    measure: str,
) -> dict[str, Any] | None:  # fmt: skip
    """Return the difference of the mean over ``second`` to that over ``first``; None for other clips, or itself."""
    if second == first or any(i not in resampled for i in [*first, *second]):
        return None
    means = [np.mean([resampled[i] for i in members], axis=0) for members in (first, second)]
    observed = [np.mean([saved[i].metrics[measure] for i in members]) for members in (first, second)]
    differences = means[1] - means[0]
    return {
        "measure": measure,
        "observed": float(observed[1] - observed[0]),
        "interval": percentile_interval(differences),
        "p": bootstrap_p(differences),
    }


def tables(rows: Sequence[dict[str, Any]], measure: str) -> list[ReportTable]:
    """Return the table of metrics, with the range of ``measure`` for averaged rows, and that of differences."""
    averaged = any("ranges" in row for row in rows)
    header = ["run", *metrics.METRICS, *([f"range of {measure}"] if averaged else [])]
    cells = []
    for row in rows:
        line = [row["run"], *(f"{row[name]:.2f}" for name in metrics.METRICS)]
        cells.append(line + (["-".join(f"{end:.2f}" for end in row["ranges"][measure])] if averaged else []))
    differences = [[row["run"], *_difference_cells(row["difference"])] for row in rows if row["difference"]]
    title = f"{measure} against {rows[0]['run']}"
    return [
        ReportTable("", header, cells, ()),
        *([ReportTable(title, ["run", "difference", "95 %", "p", "p Holm"], differences, ())] if differences else []),
    ]


def _difference_cells(difference: dict[str, Any]) -> list[str]:
    low, high = difference["interval"]
    p_values = [format_p(difference["p"]), format_p(difference["p_holm"], mark=True)]
    return [f"{difference['observed']:+.2f}", f"{low:+.2f} to {high:+.2f}", *p_values]
