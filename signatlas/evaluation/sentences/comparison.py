"""Compare sentence evaluations: metrics side by side, and differences to the first evaluation or its seeds."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from signatlas.errors import UserError
from signatlas.evaluation.report import (
    ReportTable,
    format_interval,
    format_metric,
    read_report,
    run_name,
    seedless_name,
)
from signatlas.evaluation.sentences.protocol import DIRECTIONS
from signatlas.evaluation.sentences.report import PROTOCOL, RANKS
from signatlas.evaluation.significance import (
    DIFFERENCE_HEADER,
    add_holm,
    bootstrap_p,
    difference_row,
    paired_randomization,
    percentile_interval,
    resample_means,
    resample_seeds,
)

MEASURES = ("R@1", "R@5", "R@10", "MRR")
COLUMNS = ("R@1", "R@5", "R@10", "MedR")
Key = tuple[str, str, str]  # language, texts, direction


class SavedEvaluation(NamedTuple):
    """A saved evaluation: its name, report, and by (language, texts, direction) the rank of each query."""

    name: str
    report: dict[str, Any]
    ranks: dict[Key, dict[str, int]]

    def metrics(self, language: str, texts: str, direction: str) -> dict[str, float]:
        """Return the metrics of all queries."""
        key = {"language": language, "texts": texts, "direction": direction, "subset": "all"}
        metrics: dict[str, float] = next(
            r["metrics"] for r in self.report["results"] if all(r[name] == value for name, value in key.items())
        )
        return metrics

    def arm(self) -> str:
        """Return the name that all seeds of a recipe share."""
        record = self.report["model"]["record"]
        return seedless_name(str(record.get("recipe") or self.name), record.get("seed"))


def read(folder: str | os.PathLike[str]) -> SavedEvaluation:
    """Read the folder that ``signatlas evaluate`` wrote for a dual encoder. Raises UserError."""
    path, report = read_report(folder)
    if report["protocol"] != PROTOCOL:
        raise UserError(f"{path} is not an evaluation of sentences (protocol {report['protocol']}): leave it out")
    try:
        ranks: dict[Key, dict[str, int]] = {}
        with open(path / RANKS, encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                key = (row["language"], row["texts"], row["direction"])
                ranks.setdefault(key, {})[row["query"]] = int(row["rank"])
        return SavedEvaluation(run_name(report["model"]["path"]), report, ranks)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} has no readable report.json and {RANKS} ({error}): evaluate the model again"
        ) from error


def compare(
    saved: Sequence[SavedEvaluation], measure: str = "R@1", seed: int = 0, *, mean: bool = False
) -> list[dict[str, Any]]:
    """Return a row per language and evaluation, or with ``mean`` per language and arm (all seeds of a recipe).

    A row has by direction the ``strict`` and ``merged`` metrics, the 95 % ``interval`` of strict ``measure``, and the
    ``difference`` to the first row of the language (``observed``, ``interval``, two-sided ``p``, and ``p_holm``, after
    Holm's correction over all comparisons), None where the queries differ. Intervals are those of a bootstrap over
    queries. p is that of a paired randomization test over queries. With ``mean``, metrics are means over seeds, with
    their ``range`` of strict ``measure``, and intervals and p are those of the two-level bootstrap over seeds and
    queries (:mod:`signatlas.evaluation.significance`). Raises UserError for an unknown measure.
    """
    if measure not in MEASURES:
        raise UserError(f"unknown --by '{measure}', choose from {', '.join(MEASURES)}")
    codes = list(dict.fromkeys(code for one in saved for code in one.report["languages"]))
    rows = []
    for code in codes:
        arms = _arms([one for one in saved if code in one.report["languages"]], mean)
        for number, members in enumerate(arms):
            row = _describe(members, code, mean)
            for direction in DIRECTIONS:
                key = (code, "strict", direction)
                row[direction] = {
                    **_mean_metrics(members, code, direction),
                    "interval": _interval(members, key, measure, seed, number),
                    "difference": _difference(arms, number, key, measure, seed, mean) if number else None,
                }
                if mean:
                    values = [one.metrics(*key)[measure] for one in members]
                    row[direction]["range"] = (min(values), max(values))
            rows.append(row)
    add_holm(row[direction]["difference"] for row in rows for direction in DIRECTIONS if row[direction]["difference"])
    return rows


def _arms(saved: Sequence[SavedEvaluation], mean: bool) -> list[list[SavedEvaluation]]:
    """Return the evaluations one by one, or with ``mean`` grouped by arm, corpus and split."""
    if not mean:
        return [[one] for one in saved]
    arms: dict[tuple[Any, ...], list[SavedEvaluation]] = {}
    for one in saved:
        arms.setdefault((one.arm(), one.report["corpus"]["name"], one.report["split"]), []).append(one)
    return list(arms.values())


def _describe(members: Sequence[SavedEvaluation], code: str, mean: bool) -> dict[str, Any]:
    first = members[0]
    corpus, record = first.report["corpus"], first.report["model"]["record"]
    return {
        "run": f"{first.arm()} ({len(members)})" if mean else first.name,
        "language": code,
        "corpus": corpus["name"],
        "split": first.report["split"],
        "synthetic": corpus["synthetic"],
        "recipe": record.get("recipe"),
        "seeds": [one.report["model"]["record"].get("seed") for one in members],
    }


def _mean_metrics(members: Sequence[SavedEvaluation], code: str, direction: str) -> dict[str, dict[str, float]]:
    """Return strict and merged metrics, means over the members."""
    means = {}
    for texts in ("strict", "merged"):
        metrics = [one.metrics(code, texts, direction) for one in members]
        means[texts] = {name: float(np.mean([each[name] for each in metrics])) for name in metrics[0]}
    return means


def _values(saved: Sequence[SavedEvaluation], key: Key, measure: str) -> np.ndarray | None:
    """Return the value of each query, float64 [evaluations, Q], whose mean is ``measure``; None for other queries."""
    queries = saved[0].ranks.get(key, {})
    if not queries or any(one.ranks.get(key, {}).keys() != queries.keys() for one in saved):
        return None
    ranks = np.array([[one.ranks[key][query] for query in queries] for one in saved])
    ranks = ranks[:, (ranks > 0).all(0)]
    return np.asarray(1 / ranks if measure == "MRR" else ranks <= int(measure.removeprefix("R@")), float)


def _interval(
    members: Sequence[SavedEvaluation], key: Key, measure: str, seed: int, arm: int
) -> tuple[float, float] | None:
    values = _values(members, key, measure)
    if values is None:
        return None
    return percentile_interval(resample_seeds(resample_means(values, seed=seed), seed=seed, arm=arm))


def _difference(
    arms: Sequence[Sequence[SavedEvaluation]], number: int, key: Key, measure: str, seed: int, mean: bool
) -> dict[str, Any] | None:
    """Return the difference of arm ``number`` to the first arm; None where their queries differ."""
    first, second = arms[0], arms[number]
    values = _values([*first, *second], key, measure)
    if values is None:
        return None
    resampled, split = resample_means(values, seed=seed), len(first)
    differences = resample_seeds(resampled[split:], seed=seed, arm=number)
    differences = differences - resample_seeds(resampled[:split], seed=seed, arm=0)
    return {
        "measure": measure,
        "observed": float(values[split:].mean() - values[:split].mean()),
        "interval": percentile_interval(differences),
        "p": bootstrap_p(differences) if mean else paired_randomization(*values, seed=seed),
    }


def tables(rows: Sequence[dict[str, Any]], measure: str) -> list[ReportTable]:
    """Return a table per direction (merged R@1 is ``m R@1``), and one of the differences to the first row."""
    ranges = [f"range of {measure}"] if "range" in rows[0][DIRECTIONS[0]] else []
    header = ["run", "", *COLUMNS, "m R@1", f"{measure} 95 %", *ranges]
    views = [ReportTable(direction, header, [_cells(row, direction) for row in rows], ()) for direction in DIRECTIONS]
    differences = [
        difference_row(f"{row['run']} {row['language']} {direction}", difference, "{:+.3f}".format)
        for row in rows
        for direction in DIRECTIONS
        if (difference := row[direction]["difference"])
    ]
    title = f"{measure} against {rows[0]['run']}"
    return views + ([ReportTable(title, DIFFERENCE_HEADER, differences, ())] if differences else [])


def _cells(row: dict[str, Any], direction: str) -> list[str]:
    result = row[direction]
    cells = [row["run"], row["language"], *(format_metric(name, result["strict"][name]) for name in COLUMNS)]
    cells.append(format_metric("R@1", result["merged"]["R@1"]))
    cells.append(format_interval("R@1", result["interval"]) if result["interval"] else "")
    if "range" in result:
        cells.append("-".join(format_metric("R@1", end) for end in result["range"]))
    return cells
