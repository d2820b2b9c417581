"""Evaluations of translations side by side, with paired bootstrap against the first of them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from signatlas.errors import UserError
from signatlas.evaluation.signs.report import run_name
from signatlas.evaluation.translations.report import PROTOCOL, read_hypotheses
from signatlas.evaluation.translations.scoring import MODEL, TESTED, resampled
from signatlas.metrics import translation as metrics

SAMPLES = 1000


class Saved(NamedTuple):
    """A saved evaluation: its name, report, and the rows of its texts."""

    name: str
    report: dict[str, Any]
    rows: list[dict[str, Any]]

    @property
    def figures(self) -> dict[str, float]:
        found = next(r for r in self.report["results"] if (r["system"], r["subset"]) == (MODEL, "all"))
        return {name: float(found[name]) for name in metrics.FIGURES}

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [(row["id"], row["reference"]) for row in self.rows]


def is_translation(folder: str | os.PathLike[str]) -> bool:
    """Whether ``signatlas evaluate`` wrote this folder for a translator."""
    try:
        return bool(json.loads((_place(folder) / "report.json").read_text("utf-8"))["protocol"] == PROTOCOL)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read(folder: str | os.PathLike[str]) -> Saved:
    """Read the folder of an evaluation. Raises UserError."""
    place = _place(folder)
    try:
        report = json.loads((place / "report.json").read_text("utf-8"))
        if report["protocol"] != PROTOCOL:
            raise UserError(f"{place} is no evaluation of translations (protocol {report['protocol']}): leave it out")
        rows = read_hypotheses(place)
        saved = Saved(run_name(report["model"]["path"]), report, rows)
        if not rows or not saved.asked[0][0] or not saved.figures:
            raise ValueError("no texts")
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise UserError(f"{place} has no readable report.json and texts ({error}): evaluate again") from error
    return saved


def _place(folder: str | os.PathLike[str]) -> Path:
    place = Path(folder)
    return place.parent if place.name == "report.json" else place


def compared(saved: Sequence[Saved], measure: str = "BLEU-4", seed: int = 0) -> list[dict[str, Any]]:
    """A row an evaluation: its figures; and against the first, over the same clips, the difference of ``measure``.

    ``difference`` has the observed one, its 95 % interval and ``p``, two-sided: twice the share of resamples on the
    other side of 0 (Koehn 2004). None where clips or references differ. Raises UserError for an unknown measure.
    """
    drawn = _drawn(saved, measure, seed)
    rows: list[dict[str, Any]] = []
    for place, one in enumerate(saved):
        record = one.report["model"]["record"]
        row = {"run": one.name, "language": one.report["language"], "corpus": one.report["corpus"]["name"],
               "split": one.report["split"], "synthetic": one.report["corpus"]["synthetic"], "clips": len(one.rows),
               "recipe": record.get("recipe"), "seed": record.get("seed")}  # fmt: skip
        rows.append(row | one.figures | {"difference": _difference(saved, drawn, [0], [place], measure)})
    return rows


def averaged(saved: Sequence[Saved], measure: str = "BLEU-4", seed: int = 0) -> list[dict[str, Any]]:
    """One row for all seeds of a run (NAME_0, NAME_1) and corpus: means, and ``ranges`` of every figure.

    ``difference`` is that of the means to the first row's. Its interval is of other clips, not of other seeds.
    """
    rows, drawn = compared(saved, measure, seed), _drawn(saved, measure, seed)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault((_without_seed(row), row["language"], row["corpus"], row["split"]), []).append(place)
    found, first = [], next(iter(groups.values()))
    for (name, *_), members in groups.items():
        values = {figure: [rows[place][figure] for place in members] for figure in metrics.FIGURES}
        means = {figure: float(np.mean(held)) for figure, held in values.items()}
        ranges = {figure: (min(held), max(held)) for figure, held in values.items()}
        row = {**rows[members[0]], "run": f"{name} ({len(members)})", "ranges": ranges, **means}
        found.append(row | {"difference": _difference(saved, drawn, first, members, measure)})
    return found


def _without_seed(row: dict[str, Any]) -> str:
    """The run's name; runs of several seeds are named NAME_0, NAME_1, their stages NAME_0/alignment."""
    run, _, stage = row["run"].partition("/")
    seedless = run.removesuffix(f"_{row['seed']}")
    return f"{seedless}/{stage}" if stage else seedless


def _drawn(saved: Sequence[Saved], measure: str, seed: int) -> dict[int, np.ndarray]:
    """By place, ``measure`` in each resample [samples] of those that have the clips and references of the first."""
    if measure not in TESTED:
        raise UserError(f"unknown --by '{measure}', choose from {', '.join(TESTED)}")
    counts, rouge = {}, {}
    for place, one in enumerate(saved):
        if one.asked == saved[0].asked:
            pair = [row["hypothesis"] for row in one.rows], [reference for _, reference in one.asked]
            counts[str(place)] = metrics.bleu_counts(*pair, one.report["language"])
            rouge[str(place)] = metrics.sentence_scores(*pair, one.report["language"])["ROUGE-L"]
    drawn = resampled(counts, rouge, samples=SAMPLES, seed=seed)
    return {int(place): values[:, TESTED.index(measure)] for place, values in drawn.items()}


def _difference(
    saved: Sequence[Saved], drawn: dict[int, np.ndarray], first: list[int], others: list[int], measure: str
) -> dict[str, Any] | None:
    """Of the mean over ``others`` to that over ``first``; None for the first itself and for other clips."""
    if others == first or any(place not in drawn for place in [*first, *others]):
        return None
    mean = [np.mean([drawn[place] for place in places], axis=0) for places in (first, others)]
    told = [np.mean([saved[place].figures[measure] for place in places]) for places in (first, others)]
    differences = mean[1] - mean[0]
    low, high = (float(end) for end in np.quantile(differences, [0.025, 0.975]))
    share = min(float(np.mean(differences <= 0)), float(np.mean(differences >= 0)))
    return {"measure": measure, "observed": float(told[1] - told[0]), "interval": (low, high), "p": min(1.0, 2 * share)}


def as_cells(rows: Sequence[dict[str, Any]], measure: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people; averaged rows have the range of ``measure`` too."""
    ranged = any("ranges" in row for row in rows)
    header = ["run", *metrics.FIGURES, *([f"range of {measure}"] if ranged else []), f"{measure} against the first"]
    cells = []
    for row in rows:
        line = [row["run"], *(f"{row[n]:.2f}" for n in metrics.FIGURES)]
        line += ["-".join(f"{end:.2f}" for end in row["ranges"][measure])] if ranged else []
        cells.append([*line, _told(row["difference"])])
    return header, cells


def _told(difference: dict[str, Any] | None) -> str:
    if difference is None:
        return ""
    low, high = difference["interval"]
    p = f"p<{2 / SAMPLES:g}" if difference["p"] < 2 / SAMPLES else f"p={difference['p']:.3f}"
    return f"{difference['observed']:+.2f} [{low:+.2f}, {high:+.2f}] {p}"
