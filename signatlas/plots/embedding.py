"""Two-dimensional map of an embedding space, colored by gloss."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np

from signatlas.plots.figures import CYCLE, GRAY, figure, save

MARKERS = "os^vDPX*"


def layout(vectors: np.ndarray, method: Literal["pca", "tsne"] = "tsne", *, seed: int = 0) -> np.ndarray:
    """Project vectors [N, D] to [N, 2], by PCA or by t-SNE of cosine distances (van der Maaten and Hinton 2008).

    Raises ValueError for fewer than three vectors.
    """
    if len(vectors) < 3:
        raise ValueError(f"a map needs at least 3 vectors, got {len(vectors)}")
    if method == "pca":
        from sklearn.decomposition import PCA

        return np.asarray(PCA(2, random_state=seed).fit_transform(vectors))
    from sklearn.manifold import TSNE

    tsne = TSNE(
        metric="cosine",
        init="random",
        perplexity=min(30.0, (len(vectors) - 1) / 3),
        # Barnes-Hut is faster only for many points, and its threads cost seconds on a busy machine.
        method="exact" if len(vectors) <= 500 else "barnes_hut",
        random_state=seed,
    )
    return np.asarray(tsne.fit_transform(vectors))


def embedding_map(
    vectors: np.ndarray,
    glosses: Sequence[str | None],
    path: str | os.PathLike[str],
    *,
    method: Literal["pca", "tsne"] = "tsne",
    title: str | None = None,
    seed: int = 0,
) -> None:
    """Save a PNG map of vectors [N, D]. Each gloss has its points color and marker, with its label at the median point.

    Points without a gloss are small and gray.
    """
    positions = layout(np.asarray(vectors, float), method, seed=seed)
    labels = np.array([gloss or "" for gloss in glosses])
    words = sorted(set(labels) - {""})
    chart = figure(9, 8)
    axes = chart.subplots()
    unlabeled = labels == ""
    axes.scatter(positions[unlabeled, 0], positions[unlabeled, 1], s=4, color=GRAY, linewidths=0)
    for number, word in enumerate(words):
        marker = MARKERS[number // len(CYCLE) % len(MARKERS)]
        points = positions[labels == word]
        axes.scatter(
            points[:, 0], points[:, 1], s=18, color=CYCLE[number % len(CYCLE)], marker=marker, linewidths=0, alpha=0.8
        )
        if len(words) <= 60:
            axes.annotate(
                word, np.median(points, 0), fontsize=8, ha="center", bbox={"fc": "white", "alpha": 0.7, "lw": 0}
            )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title or f"{len(vectors)} clips, {len(words)} words, {method}")
    save(chart, path)
