"""UMAP of mined signs: tokens of a dictionary's windows, colored by word."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

import numpy as np

from signatlas.plots.figures import CYCLE, figure, save

MARKERS = "os^vDPX*"
MIN_TOKENS = 4  # UMAP needs neighbors


def plot_mined_signs(
    tokens: np.ndarray, words: Sequence[str], path: str | os.PathLike[str], *, seed: int = 0, title: str = ""
) -> None:
    """Save a PNG of tokens [N, E], each labeled with its word. Each word has its points color and marker.

    Raises ValueError for fewer than four tokens.
    """
    positions = layout(tokens, seed)
    labels = np.array(words)
    chart = figure(9, 8)
    axes = chart.subplots()
    for number, word in enumerate(dict.fromkeys(words)):
        points = positions[labels == word]
        marker = MARKERS[number // len(CYCLE) % len(MARKERS)]
        axes.scatter(points[:, 0], points[:, 1], s=22, color=CYCLE[number % len(CYCLE)], marker=marker, lw=0, alpha=0.8)
        anchor = label_position(points)
        box = {"fc": "white", "alpha": 0.6, "lw": 0, "pad": 1}
        axes.annotate(word, anchor, (0, 7), textcoords="offset points", fontsize=9, ha="center", bbox=box)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title or f"{len(tokens)} mined windows of {len(set(words))} words, UMAP")
    save(chart, path)


def label_position(points: np.ndarray) -> tuple[float, float]:
    """Return the position of a label for points [N, 2]: above the half closest to their medoid, to ignore outliers."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    medoid = int(distances.sum(1).argmin())
    near = points[distances[medoid] <= np.median(distances[medoid])]
    return float(points[medoid, 0]), float(near[:, 1].max())


def layout(tokens: np.ndarray, seed: int = 0) -> np.ndarray:
    """Project tokens [N, E] to [N, 2] by UMAP of cosine distances (McInnes et al. 2018), deterministic for a seed.

    Raises ValueError for fewer than four tokens.
    """
    if len(tokens) < MIN_TOKENS:
        raise ValueError(f"a map needs at least {MIN_TOKENS} tokens, got {len(tokens)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about seeds that disable threads, and spectral initialization of few points
        from umap import UMAP

        mapper = UMAP(
            metric="cosine", n_neighbors=min(15, len(tokens) - 1), random_state=seed, n_jobs=1,
            init="spectral" if len(tokens) > 50 else "random",
        )  # fmt: skip
        return np.asarray(mapper.fit_transform(np.asarray(tokens, np.float32)))
