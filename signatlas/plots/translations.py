"""Scores of translations, sentence by sentence: how they spread, and how they fall with length."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from signatlas.plots.figures import CYCLE, GRAY, figure, save

LEAST = 5  # sentences that a length must have to be drawn


def scores(
    by_system: Mapping[str, np.ndarray],
    lengths: np.ndarray,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    name: str = "ROUGE-L",
) -> None:
    """Save a PNG: shares of sentences by score [N] of each system, and mean score by ``lengths`` [N] in tokens.

    Raises ValueError when there is nothing to draw.
    """
    if not by_system or not len(lengths):
        raise ValueError("no scores to draw")
    picture = figure(9.2, 3.8)
    left, right = picture.subplots(1, 2)
    edges = np.linspace(0, 100, 21)
    for (system, values), color in zip(by_system.items(), CYCLE, strict=False):
        shares = np.histogram(values, edges)[0] / len(values)
        left.stairs(shares, edges, color=color, label=f"{system}: mean {values.mean():.1f}")
        left.axvline(values.mean(), color=color, linestyle=":", linewidth=1)
    left.set(xlabel=f"{name} of a sentence", ylabel="share of sentences", xlim=(0, 100))
    left.legend(fontsize=8, frameon=False)
    groups = length_groups(lengths)
    middles = [float(lengths[rows].mean()) for rows in groups]
    for values, color in zip(by_system.values(), CYCLE, strict=False):
        means = [values[rows].mean() for rows in groups]
        errors = [values[rows].std() / max(len(rows), 1) ** 0.5 for rows in groups]
        right.errorbar(middles, means, errors, color=color, marker="o", markersize=4, capsize=2, linewidth=1.2)
    for x, rows in zip(middles, groups, strict=True):
        right.text(x, 0.99, str(len(rows)), color=GRAY, fontsize=7, ha="center", va="top",
                   transform=right.get_xaxis_transform())  # fmt: skip
    right.set(xlabel="tokens of the reference (gray: sentences)", ylabel=f"mean {name}, with standard error")
    right.set_ylim(0, 1.12 * right.get_ylim()[1])
    for axes in (left, right):
        axes.grid(alpha=0.25)
    if title:
        picture.suptitle(title)
    save(picture, path)


def length_groups(lengths: np.ndarray, most: int = 8) -> list[np.ndarray]:
    """Sentences by length, at most ``most`` groups of about equally many; equal lengths stay together."""
    order = np.argsort(lengths, kind="stable")
    wanted = max(LEAST, int(np.ceil(len(lengths) / most)))
    groups: list[np.ndarray] = []
    start = 0
    while start < len(order):
        end = min(start + wanted, len(order))
        while end < len(order) and lengths[order[end]] == lengths[order[end - 1]]:
            end += 1
        if len(order) - end < LEAST:
            end = len(order)
        groups.append(order[start:end])
        start = end
    return groups
