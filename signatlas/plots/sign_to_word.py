"""Heat maps of a sign-to-word map: words over time, with the true glosses above."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from signatlas.plots.figures import BLUE, ORANGE, figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Spans = Sequence[tuple[str, float, float]]


class WordMap(Protocol):
    """W words, cosines [L, W] with L windows, and each word's attention over the windows [L, W]."""

    @property
    def words(self) -> tuple[str, ...]: ...
    @property
    def cosines(self) -> np.ndarray: ...
    @property
    def word_attention(self) -> np.ndarray: ...


def plot_word_map(
    word_map: WordMap,
    times: np.ndarray,
    path: str | os.PathLike[str],
    *,
    spans: Spans = (),
    unit: str = "s",
    title: str | None = None,
) -> None:
    """Save a PNG of cosines and, below, each word's attention over time.

    ``times`` [L] are the centers of the windows, ``spans`` (gloss, start, end) the true glosses, both in ``unit``.
    """
    edges = _edges(times)
    height = 0.28 * len(word_map.words) + 0.5
    chart = figure(9, 2 * height + 1.6)
    axes = chart.subplots(
        3 if spans else 2, 1, sharex=True, height_ratios=[*([0.45] if spans else []), height, height], squeeze=False
    )[:, 0]
    if spans:
        _bars(axes[0], spans)
    for number, (values, name) in enumerate(
        [(word_map.cosines, "cosine"), (word_map.word_attention, "attention of the word")]
    ):
        panel: Axes = axes[number - 2]
        rows = np.arange(len(word_map.words) + 1) - 0.5
        mesh = panel.pcolormesh(edges, rows, values.T, cmap="viridis", vmin=0 if number else None)
        panel.set_yticks(range(len(word_map.words)), word_map.words, fontsize=9)
        panel.invert_yaxis()
        chart.colorbar(mesh, ax=panel, pad=0.01).set_label(name, fontsize=8)
        for _, start, end in spans:
            for edge in (start, end):
                panel.axvline(edge, color="white", lw=0.6, alpha=0.6)
    axes[-1].set_xlabel(f"time ({unit})")
    if title:
        chart.suptitle(title, fontsize=10)
    save(chart, path)


def _edges(times: np.ndarray) -> np.ndarray:
    """Return borders [L + 1] between windows, halfway between their centers."""
    if len(times) == 1:
        return np.array([times[0] - 0.5, times[0] + 0.5])
    between = (times[1:] + times[:-1]) / 2
    return np.concatenate([[times[0] - (between[0] - times[0])], between, [times[-1] + (times[-1] - between[-1])]])


def _bars(axes: Axes, spans: Spans) -> None:
    for number, (gloss, start, end) in enumerate(spans):
        axes.barh(0, end - start, left=start, color=(BLUE, ORANGE)[number % 2], alpha=0.8, height=0.8)
        axes.text((start + end) / 2, 0.5 + 0.1 * (number % 2 == 0), gloss, ha="center", va="bottom", fontsize=8)
    axes.set_ylim(-0.45, 1.3)
    axes.set_axis_off()
