"""Sentence evaluations side by side, with paired tests against the first of them."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from signatlas.errors import UserError
from signatlas.evaluation.sentences.protocol import DIRECTIONS
from signatlas.evaluation.sentences.report import RANKS
from signatlas.evaluation.signs.report import number

MEASURES = ("R@1", "R@5", "R@10", "MRR")
SHOWN = ("R@1", "R@5", "R@10", "MedR")
Key = tuple[str, str, str]  # language, texts, direction


class Saved(NamedTuple):
    """A saved evaluation: its name, report, and by (language, texts, direction) the rank of each query."""

    name: str
    report: dict[str, Any]
    ranks: dict[Key, dict[str, int]]

    def metrics(self, language: str, texts: str, direction: str) -> dict[str, float]:
        wanted = {"language": language, "texts": texts, "direction": direction, "subset": "all"}
        found: dict[str, float] = next(
            r["metrics"] for r in self.report["results"] if all(r[name] == value for name, value in wanted.items())
        )
        return found


def read(folder: str | os.PathLike[str]) -> Saved:
    """Read the folder that ``signatlas evaluate`` wrote for a dual encoder. Raises UserError."""
    place = Path(folder)
    place = place.parent if place.name == "report.json" else place
    try:
        report = json.loads((place / "report.json").read_text("utf-8"))
        if report["protocol"] != "sentences":
            raise UserError(f"{place} is no sentence evaluation (protocol {report['protocol']}): leave it out")
        ranks: dict[Key, dict[str, int]] = {}
        with open(place / RANKS, encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                key = (row["language"], row["texts"], row["direction"])
                ranks.setdefault(key, {})[row["query"]] = int(row["rank"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{place} has no readable report.json and {RANKS} ({error}): evaluate again") from error
    model = Path(report["model"]["path"])
    return Saved(model.parent.name if model.name == "model" else model.name, report, ranks)


def randomization(first: np.ndarray, second: np.ndarray, *, samples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p of the paired randomization test for a difference of means over queries (Fisher; Smucker 2007).

    Under the null hypothesis the two systems' values [Q] of a query may be exchanged. p counts how often random
    exchanges differ at least as much, the observed one among them, so that it is never zero.
    """
    difference = np.asarray(first, float) - np.asarray(second, float)
    difference = difference[difference != 0]
    if not len(difference):
        return 1.0
    signs = np.random.default_rng(seed).integers(0, 2, (samples, len(difference)), dtype=np.int8) * 2 - 1
    drawn = np.abs(signs @ difference)
    return float((1 + (drawn >= abs(difference.sum()) - 1e-9).sum()) / (1 + samples))


def tested(first: Saved, second: Saved, key: Key, measure: str, seed: int) -> float | None:
    """p of ``measure`` between two evaluations of the same queries; None where the queries differ."""
    a, b = first.ranks.get(key, {}), second.ranks.get(key, {})
    if not a or a.keys() != b.keys():
        return None
    ranks = np.array([[ranks[query] for query in a] for ranks in (a, b)])
    ranks = ranks[:, (ranks > 0).all(0)]
    values = 1 / ranks if measure == "MRR" else ranks <= int(measure.removeprefix("R@"))
    return randomization(*values, seed=seed)


def compared(saved: Sequence[Saved], measure: str = "R@1", seed: int = 0) -> list[dict[str, Any]]:
    """A row a language and evaluation: strict and merged figures by direction, and p against the first evaluation.

    Raises UserError for an unknown measure.
    """
    if measure not in MEASURES:
        raise UserError(f"unknown --by '{measure}', choose from {', '.join(MEASURES)}")
    codes = list(dict.fromkeys(code for one in saved for code in one.report["languages"]))
    rows = []
    for code in codes:
        held = [one for one in saved if code in one.report["languages"]]
        for one in held:
            row: dict[str, Any] = {"run": one.name, "language": code, "corpus": one.report["corpus"]["name"]}
            row["split"], row["synthetic"] = one.report["split"], one.report["corpus"]["synthetic"]
            row["recipe"] = one.report["model"]["record"].get("recipe")
            row["seed"] = one.report["model"]["record"].get("seed")
            for direction in DIRECTIONS:
                p = None if one is held[0] else tested(held[0], one, (code, "strict", direction), measure, seed)
                figures = {texts: one.metrics(code, texts, direction) for texts in ("strict", "merged")}
                row[direction] = {**figures, "p": p}
            rows.append(row)
    return rows


def averaged(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for all models of a recipe (its seeds), language, corpus and split: means, and ``range`` of strict R@1.

    p is left out: it is about queries, not about seeds. A model without a recipe in its record stays alone.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = (_without_seed(row), row["language"], row["corpus"], row["split"])
        groups.setdefault(key, []).append(row)
    return [_mean(name, members) for (name, *_), members in groups.items()]


def _without_seed(row: dict[str, Any]) -> str:
    """The recipe's name; runs of several seeds are named NAME_0, NAME_1."""
    return str(row["recipe"] or row["run"]).removesuffix(f"_{row.get('seed')}")


def _mean(name: str, members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    row = {**members[0], "run": f"{name} ({len(members)})"}
    for direction in DIRECTIONS:
        held = [member[direction] for member in members]
        means = {
            texts: {n: float(np.mean([one[texts][n] for one in held])) for n in held[0][texts]}
            for texts in ("strict", "merged")
        }
        first = [one["strict"]["R@1"] for one in held]
        row[direction] = {**means, "p": None, "range": (min(first), max(first))}
    return row


def as_cells(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people; merged R@1 stands as ``m R@1``, p is that against the language's first row.

    Averaged rows have the range of R@1 in place of p.
    """
    last = "range" if any("range" in row[DIRECTIONS[0]] for row in rows) else "p"
    header = ["run", ""]
    for direction in DIRECTIONS:
        header += [f"{direction} R@1", *SHOWN[1:], "m R@1", last]
    cells = []
    for row in rows:
        line = [row["run"], row["language"]]
        for direction in DIRECTIONS:
            found = row[direction]
            line += [number(name, found["strict"][name]) for name in SHOWN]
            ends = "-".join(number("R@1", end) for end in found.get("range", ()))
            line += [number("R@1", found["merged"]["R@1"]), ends or _p(found["p"])]
        cells.append(line)
    return header, cells


def _p(value: float | None) -> str:
    return "" if value is None else "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    header, cells = as_cells(rows)
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|", *(f"| {' | '.join(line)} |" for line in cells)]
    return "\n".join(lines)
