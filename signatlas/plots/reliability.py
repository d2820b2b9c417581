"""Reliability of confidence words: the share of right answers of each word, and the scores that the words divide."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from signatlas.plots.figures import BLUE, GRAY, VERMILION, figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Scores(NamedTuple):
    """Best scores [Q] of queries that share a ``label``."""

    label: str
    values: np.ndarray


def reliability(
    words: Sequence[Mapping[str, Any]],
    scores: Sequence[Scores],
    thresholds: Mapping[str, float],
    path: str | os.PathLike[str],
    *,
    split: str = "test",
    title: str | None = None,
) -> None:
    """Save a PNG: left the share of right answers of each word on dev and test, right the distribution of best scores.

    Each of ``words`` has ``word`` and, for ``dev`` and ``test``, ``total``, ``share`` and ``interval`` (None for no
    answer); ``split`` is the one behind ``test``. ``thresholds`` are scores by name. Raises ValueError without
    words or scores.
    """
    if not words or not any(len(group.values) for group in scores):
        raise ValueError("no words or no scores to draw")
    chart = figure(10.0, 3.8)
    left, right = chart.subplots(1, 2)
    _shares(left, words, split)
    _scores(right, scores, thresholds)
    if title:
        chart.suptitle(title, fontsize=10)
    save(chart, path)


def _shares(axes: Axes, words: Sequence[Mapping[str, Any]], split: str) -> None:
    for part, color, shift in (("dev", GRAY, -0.12), ("test", BLUE, 0.12)):
        known = [(x, row[part]) for x, row in enumerate(words) if row[part]["total"]]
        if not known:
            continue
        shares = np.array([share["share"] for _, share in known])
        ends = np.array([share["interval"] for _, share in known])
        label = "dev: what the word promises" if part == "dev" else split
        axes.errorbar(
            [x + shift for x, _ in known],
            shares,
            yerr=np.stack([shares - ends[:, 0], ends[:, 1] - shares]),
            fmt="o",
            color=color,
            capsize=3,
            label=label,
        )
    axes.set_xticks(
        range(len(words)), [f"{row['word']}\n{row['dev']['total']}, {row['test']['total']}" for row in words]
    )
    axes.set_xlim(-0.6, len(words) - 0.4)
    axes.set_ylim(0, 1.04)
    axes.set_ylabel("first hit right")
    axes.set_xlabel(f"word, number of dev and {split} queries")
    axes.set_title("signs in the index", fontsize=10)
    axes.grid(alpha=0.25, axis="y")
    axes.legend(fontsize=8, frameon=False, loc="lower left")


def _scores(axes: Axes, scores: Sequence[Scores], thresholds: Mapping[str, float]) -> None:
    values = np.concatenate([group.values for group in scores])
    edges = np.linspace(min(values.min(), *thresholds.values()), max(values.max(), *thresholds.values()), 41)
    for group, color in zip(scores, (BLUE, VERMILION, GRAY), strict=False):
        if len(group.values):
            fractions = np.histogram(group.values, edges)[0] / len(group.values)
            axes.stairs(fractions, edges, color=color, fill=True, alpha=0.25)
            axes.stairs(fractions, edges, color=color, label=f"{group.label} ({len(group.values)})")
    top = axes.get_ylim()[1]
    for name, score in thresholds.items():
        axes.axvline(score, color="black", linestyle="--", linewidth=0.8)
        axes.text(score, top, f" {name}", rotation=90, va="top", ha="right", fontsize=8)
    axes.set_xlabel("best score (cosine)")
    axes.set_ylabel("fraction of queries")
    axes.set_title("best scores and thresholds", fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False, loc="upper left")
