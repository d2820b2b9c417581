"""Mined signs in the plane: the tokens of a dictionary's windows by UMAP, colored by word."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

import numpy as np

from signatlas.plots.figures import CYCLE, figure, save

MARKERS = "os^vDPX*"
LEAST = 4  # fewer points have no neighborhood to keep


def mined_map(
    tokens: np.ndarray, words: Sequence[str], path: str | os.PathLike[str], *, seed: int = 0, title: str = ""
) -> None:
    """Save a PNG of tokens [N, E] with the word of each; color and marker together tell words apart.

    Raises ValueError for fewer than four tokens.
    """
    places = layout(tokens, seed)
    labels = np.array(words)
    picture = figure(9, 8)
    axes = picture.subplots()
    for number, word in enumerate(dict.fromkeys(words)):
        own = places[labels == word]
        marker = MARKERS[number // len(CYCLE) % len(MARKERS)]
        axes.scatter(own[:, 0], own[:, 1], s=22, color=CYCLE[number % len(CYCLE)], marker=marker, lw=0, alpha=0.8)
        top = label_place(own)
        box = {"fc": "white", "alpha": 0.6, "lw": 0, "pad": 1}
        axes.annotate(word, top, (0, 7), textcoords="offset points", fontsize=9, ha="center", bbox=box)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title or f"{len(tokens)} mined windows of {len(set(words))} words, UMAP")
    save(picture, path)


def label_place(points: np.ndarray) -> tuple[float, float]:
    """Above the half of some points [N, 2] that lies closest together: stragglers do not move a label."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    medoid = int(distances.sum(1).argmin())
    near = points[distances[medoid] <= np.median(distances[medoid])]
    return float(points[medoid, 0]), float(near[:, 1].max())


def layout(tokens: np.ndarray, seed: int = 0) -> np.ndarray:
    """Tokens [N, E] in the plane [N, 2], by UMAP over cosine distance (McInnes et al. 2018); the same for one seed."""
    if len(tokens) < LEAST:
        raise ValueError(f"{len(tokens)} tokens make no map; at least {LEAST} are needed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed costs threads, and that few points bend the spectrum
        from umap import UMAP

        mapper = UMAP(
            metric="cosine", n_neighbors=min(15, len(tokens) - 1), random_state=seed, n_jobs=1,
            init="spectral" if len(tokens) > 50 else "random",
        )  # fmt: skip
        return np.asarray(mapper.fit_transform(np.asarray(tokens, np.float32)))
