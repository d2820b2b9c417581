"""Recall over the cutoff K, and the distribution of ranks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from signatlas.plots.figures import CYCLE, GRAY, figure, save


class Curve(NamedTuple):
    """Ranks int [Q] (from 1) of queries in a gallery of ``gallery`` items, drawn as line ``label`` of ``panel``."""

    panel: str
    label: str
    ranks: np.ndarray
    gallery: int


def recall(curves: Sequence[Curve], path: str | os.PathLike[str], *, title: str | None = None) -> None:
    """Save a PNG with R@K over K for each panel and, below, the fraction of queries by rank; chance is gray.

    Raises ValueError if there are no ranks.
    """
    if not curves or not all(len(curve.ranks) for curve in curves):
        raise ValueError("no ranks to draw")
    panels = list(dict.fromkeys(curve.panel for curve in curves))
    chart = figure(4.6 * len(panels), 6.0)
    grid = chart.subplots(2, len(panels), squeeze=False, sharex="col", sharey="row")
    for column, panel in enumerate(panels):
        panel_curves = [curve for curve in curves if curve.panel == panel]
        upper, lower = grid[:, column]
        _recall_over_cutoff(upper, panel_curves)
        _rank_histogram(lower, panel_curves)
        upper.set_title(panel)
        lower.set_xlabel("rank")
        upper.legend(fontsize=8, frameon=False, loc="best")
    grid[0, 0].set_ylabel("R@K")
    grid[1, 0].set_ylabel("fraction of queries")
    if title:
        chart.suptitle(title)
    save(chart, path)


def _recall_over_cutoff(axes, curves: Sequence[Curve]) -> None:  # type: ignore[no-untyped-def]
    size = max(curve.gallery for curve in curves)
    cutoffs = np.arange(1, size + 1)
    for curve, color in zip(curves, CYCLE * len(curves), strict=False):
        values = np.searchsorted(np.sort(curve.ranks), cutoffs, side="right") / len(curve.ranks)
        axes.plot(cutoffs, values, color=color, label=f"{curve.label}: R@1 {values[0]:.3f}")
    axes.plot(cutoffs, cutoffs / size, color=GRAY, linestyle="--", label="chance")
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.25)


def _rank_histogram(axes, curves: Sequence[Curve]) -> None:  # type: ignore[no-untyped-def]
    """Draw a histogram with bins 1, 2, 3-4, 5-8, 9-16, ..."""
    size = max(curve.gallery for curve in curves)
    edges = np.concatenate([[0], 2 ** np.arange(int(np.ceil(np.log2(size))) + 1)]) + 0.5
    for curve, color in zip(curves, CYCLE * len(curves), strict=False):
        fractions = np.histogram(curve.ranks, edges)[0] / len(curve.ranks)
        axes.stairs(fractions, edges, color=color, fill=True, alpha=0.25)
        axes.stairs(fractions, edges, color=color)
    chance = np.diff(np.clip(edges - 0.5, 0, size)) / size
    axes.stairs(chance, edges, color=GRAY, linestyle="--")
    axes.grid(alpha=0.25)
