"""Compare sentence evaluations: metrics side by side, and paired tests against the first evaluation."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from signatlas.errors import UserError
from signatlas.evaluation.report import ReportTable, format_metric, read_report, run_name, seedless_name
from signatlas.evaluation.sentences.protocol import DIRECTIONS
from signatlas.evaluation.sentences.report import PROTOCOL, RANKS
from signatlas.evaluation.significance import add_holm, format_p, paired_randomization

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


def paired_p(first: SavedEvaluation, second: SavedEvaluation, key: Key, measure: str, seed: int) -> float | None:
    """Return p of ``measure`` between two evaluations of the same queries; None where the queries differ."""
    a, b = first.ranks.get(key, {}), second.ranks.get(key, {})
    if not a or a.keys() != b.keys():
        return None
    ranks = np.array([[ranks[query] for query in a] for ranks in (a, b)])
    ranks = ranks[:, (ranks > 0).all(0)]
    values = 1 / ranks if measure == "MRR" else ranks <= int(measure.removeprefix("R@"))
    return paired_randomization(*values, seed=seed)


def compare(saved: Sequence[SavedEvaluation], measure: str = "R@1", seed: int = 0) -> list[dict[str, Any]]:
    """Return a row per language and evaluation: strict and merged metrics by direction, and p against the first one.

    ``p_holm`` is p after Holm's correction over all comparisons (languages, evaluations, directions). Raises UserError
    for an unknown measure.
    """
    if measure not in MEASURES:
        raise UserError(f"unknown --by '{measure}', choose from {', '.join(MEASURES)}")
    codes = list(dict.fromkeys(code for one in saved for code in one.report["languages"]))
    rows = []
    for code in codes:
        with_language = [one for one in saved if code in one.report["languages"]]
        first = with_language[0]
        for one in with_language:
            row: dict[str, Any] = {"run": one.name, "language": code, "corpus": one.report["corpus"]["name"]}
            row["split"], row["synthetic"] = one.report["split"], one.report["corpus"]["synthetic"]
            row["recipe"] = one.report["model"]["record"].get("recipe")
            row["seed"] = one.report["model"]["record"].get("seed")
            for direction in DIRECTIONS:
                p = None if one is first else paired_p(first, one, (code, "strict", direction), measure, seed)
                metrics = {texts: one.metrics(code, texts, direction) for texts in ("strict", "merged")}
                row[direction] = {**metrics, "p": p}
            rows.append(row)
    add_holm(row[direction] for row in rows for direction in DIRECTIONS)
    return rows


def average_seeds(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for all seeds of a recipe, language, corpus and split: means, and ``range`` of strict R@1.

    There is no p: the test is about queries, not about seeds. A model without a recipe in its record stays alone.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        name = seedless_name(str(row["recipe"] or row["run"]), row["seed"])
        groups.setdefault((name, row["language"], row["corpus"], row["split"]), []).append(row)
    return [_mean_row(name, members) for (name, *_), members in groups.items()]


def _mean_row(name: str, members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    row = {**members[0], "run": f"{name} ({len(members)})"}
    for direction in DIRECTIONS:
        results = [member[direction] for member in members]
        means = {
            texts: {n: float(np.mean([one[texts][n] for one in results])) for n in results[0][texts]}
            for texts in ("strict", "merged")
        }
        recalls = [one["strict"]["R@1"] for one in results]
        row[direction] = {**means, "p": None, "p_holm": None, "range": (min(recalls), max(recalls))}
    return row


def tables(rows: Sequence[dict[str, Any]]) -> list[ReportTable]:
    """Return a table per direction; merged R@1 is ``m R@1``, p is that against the first row of the language.

    Averaged rows have the range of R@1 instead of p.
    """
    last = ["range"] if any("range" in row[DIRECTIONS[0]] for row in rows) else ["p", "p Holm"]
    return [
        ReportTable(direction, ["run", "", *COLUMNS, "m R@1", *last], [_cells(row, direction) for row in rows], ())
        for direction in DIRECTIONS
    ]


def _cells(row: dict[str, Any], direction: str) -> list[str]:
    result = row[direction]
    cells = [row["run"], row["language"], *(format_metric(name, result["strict"][name]) for name in COLUMNS)]
    cells.append(format_metric("R@1", result["merged"]["R@1"]))
    if "range" in result:
        return [*cells, "-".join(format_metric("R@1", end) for end in result["range"])]
    return [*cells, format_p(result["p"]), format_p(result["p_holm"], mark=True)]
