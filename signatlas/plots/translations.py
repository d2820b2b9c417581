"""Sentence-level translation scores: their distribution, and their mean by reference length."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from signatlas.plots.figures import CYCLE, GRAY, figure, save

MIN_SENTENCES = 5  # of a group of lengths


def scores(
    by_system: Mapping[str, np.ndarray],
    lengths: np.ndarray,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    name: str = "ROUGE-L",
) -> None:
    """Save a PNG of the distribution of each system's scores [N] and the mean score by ``lengths`` [N] in tokens.

    Raises ValueError if there are no scores.
    """
    if not by_system or not len(lengths):
        raise ValueError("no scores to draw")
    chart = figure(9.2, 3.8)
    left, right = chart.subplots(1, 2)
    edges = np.linspace(0, 100, 21)
    for (system, values), color in zip(by_system.items(), CYCLE, strict=False):
        fractions = np.histogram(values, edges)[0] / len(values)
        left.stairs(fractions, edges, color=color, label=f"{system}: mean {values.mean():.1f}")
        left.axvline(values.mean(), color=color, linestyle=":", linewidth=1)
    left.set(xlabel=f"sentence-level {name}", ylabel="fraction of sentences", xlim=(0, 100))
    left.legend(fontsize=8, frameon=False)
    groups = length_groups(lengths)
    mean_lengths = [float(lengths[rows].mean()) for rows in groups]
    for values, color in zip(by_system.values(), CYCLE, strict=False):
        means = [values[rows].mean() for rows in groups]
        errors = [values[rows].std() / max(len(rows), 1) ** 0.5 for rows in groups]
        right.errorbar(mean_lengths, means, errors, color=color, marker="o", markersize=4, capsize=2, linewidth=1.2)
    for x, rows in zip(mean_lengths, groups, strict=True):
        right.text(x, 0.99, str(len(rows)), color=GRAY, fontsize=7, ha="center", va="top",
                   transform=right.get_xaxis_transform())  # fmt: skip
    right.set(xlabel="tokens of the reference (gray: number of sentences)", ylabel=f"mean {name} and standard error")
    right.set_ylim(0, 1.12 * right.get_ylim()[1])
    for axes in (left, right):
        axes.grid(alpha=0.25)
    if title:
        chart.suptitle(title)
    save(chart, path)


def length_groups(lengths: np.ndarray, max_groups: int = 8) -> list[np.ndarray]:
    """Group sentences by length into at most ``max_groups`` groups of similar size; equal lengths stay together."""
    order = np.argsort(lengths, kind="stable")
    size = max(MIN_SENTENCES, int(np.ceil(len(lengths) / max_groups)))
    groups: list[np.ndarray] = []
    start = 0
    while start < len(order):
        end = min(start + size, len(order))
        while end < len(order) and lengths[order[end]] == lengths[order[end - 1]]:
            end += 1
        if len(order) - end < MIN_SENTENCES:
            end = len(order)
        groups.append(order[start:end])
        start = end
    return groups
