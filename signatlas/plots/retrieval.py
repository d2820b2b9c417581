"""How far down one must look: recall over the cutoff, and where the right items stand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from signatlas.plots.figures import CYCLE, GRAY, figure, save


class Curve(NamedTuple):
    """The ranks int [Q] from 1 of one panel's queries in a gallery of so many items, and the name of their line."""

    panel: str
    label: str
    ranks: np.ndarray
    gallery: int


def recall(curves: Sequence[Curve], path: str | os.PathLike[str], *, title: str | None = None) -> None:
    """Save a PNG: for each panel R@K over K, and below it the share of queries by rank; gray: a random order.

    Raises ValueError when there is nothing to draw.
    """
    if not curves or not all(len(curve.ranks) for curve in curves):
        raise ValueError("no ranks to draw")
    panels = list(dict.fromkeys(curve.panel for curve in curves))
    picture = figure(4.6 * len(panels), 6.0)
    grid = picture.subplots(2, len(panels), squeeze=False, sharex="col", sharey="row")
    for column, panel in enumerate(panels):
        chosen = [curve for curve in curves if curve.panel == panel]
        upper, lower = grid[:, column]
        _recall_over_cutoff(upper, chosen)
        _by_rank(lower, chosen)
        upper.set_title(panel)
        lower.set_xlabel("rank")
        upper.legend(fontsize=8, frameon=False, loc="best")
    grid[0, 0].set_ylabel("R@K")
    grid[1, 0].set_ylabel("share of queries")
    if title:
        picture.suptitle(title)
    save(picture, path)


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


def _by_rank(axes, curves: Sequence[Curve]) -> None:  # type: ignore[no-untyped-def]
    """Ranks 1, 2, 3-4, 5-8, 9-16, ...: each bin ends at a power of two."""
    size = max(curve.gallery for curve in curves)
    edges = np.concatenate([[0], 2 ** np.arange(int(np.ceil(np.log2(size))) + 1)]) + 0.5
    for curve, color in zip(curves, CYCLE * len(curves), strict=False):
        shares = np.histogram(curve.ranks, edges)[0] / len(curve.ranks)
        axes.stairs(shares, edges, color=color, fill=True, alpha=0.25)
        axes.stairs(shares, edges, color=color)
    by_chance = np.diff(np.clip(edges - 0.5, 0, size)) / size
    axes.stairs(by_chance, edges, color=GRAY, linestyle="--")
    axes.grid(alpha=0.25)
