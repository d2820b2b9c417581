"""Maps of embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signatlas.plots.embedding import embedding_map, layout


def pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_map_keeps_words_together(method: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = np.repeat(np.eye(4, 16), 15, axis=0) + rng.normal(0, 0.05, (60, 16))
    words = np.repeat(["a", "b", "c", ""], 15)
    positions = layout(vectors, method)  # type: ignore[arg-type]
    centers = np.stack([positions[words == w].mean(0) for w in ("a", "b", "c")])
    spread = max(positions[words == w].std(0).max() for w in ("a", "b", "c"))
    min_distance = min(np.linalg.norm(centers[i] - centers[j]) for i in range(3) for j in range(i))
    assert min_distance > 2 * spread
    embedding_map(vectors, [w or None for w in words], tmp_path / "map.png", method=method)  # type: ignore[arg-type]
    assert pixels(tmp_path / "map.png").std() > 0
