"""Training curves: one panel per metric, over epochs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from signatlas.plots.figures import CYCLE, figure, save


def curves(
    history: Sequence[Mapping[str, float]],
    path: str | os.PathLike[str],
    *,
    x: str = "epoch",
    panels: Sequence[Sequence[str]] | None = None,
    title: str | None = None,
) -> None:
    """Save a PNG of the metrics in ``history``, one dict per epoch; a dict may lack metrics.

    ``panels`` groups metrics that share a panel, by default one panel each. Raises ValueError if there are no metrics.
    """
    names = [name for row in history for name, value in row.items() if name != x and isinstance(value, int | float)]
    groups = [list(panel) for panel in panels] if panels else [[name] for name in dict.fromkeys(names)]
    if not groups or not any(name in names for panel in groups for name in panel):
        raise ValueError("no metrics to plot: the history is empty or has none of the requested metrics")
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    chart = figure(4.2 * columns, 2.8 * rows)
    grid = chart.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(groups) :]:
        axes.set_axis_off()
    for axes, panel in zip(grid, groups, strict=False):
        for name, color in zip(panel, CYCLE * (1 + len(panel) // len(CYCLE)), strict=False):
            points = [(row[x], row[name]) for row in history if x in row and name in row]
            axes.plot(*zip(*points, strict=True), color=color, label=name, marker="." if len(points) < 40 else None)
        axes.set_xlabel(x)
        axes.legend(fontsize=8, frameon=False)
        axes.grid(alpha=0.25)
    if title:
        chart.suptitle(title)
    save(chart, path)
