"""Figures of sign-to-word maps and of mined signs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from signatlas.evaluation.sign_to_word.maps import sign_to_word_map
from signatlas.plots.mined_signs import label_position, layout, plot_mined_signs
from signatlas.plots.sign_to_word import plot_word_map


def yellow(path: Path) -> np.ndarray:
    """Places (x, y) of the brightest color of the heat map, as shares of the picture."""
    picture = imread(path)[..., :3]
    hot = np.abs(picture - np.array([0.993, 0.906, 0.144])).max(-1) < 0.03
    hot[:, int(0.85 * picture.shape[1]) :] = False  # the color bars
    return np.argwhere(hot)[:, ::-1] / np.array(picture.shape[1::-1])


def test_maps_are_bright_at_word_and_time(tmp_path: Path) -> None:
    words = np.eye(4, dtype=np.float32)
    for order, early in (([0, 1, 2, 3], True), ([3, 2, 1, 0], False)):
        found = sign_to_word_map(words[order], words[:1], [("Regen", [0])], tau=0.07)
        spans = [("REGEN", 0.0, 0.5)]
        plot_word_map(found, np.array([0.2, 0.6, 1.0, 1.4]), tmp_path / "map.png", spans=spans, title="a $ sign")
        assert (yellow(tmp_path / "map.png")[:, 0].mean() < 0.45) == early
    plot_word_map(
        sign_to_word_map(words[:1], words[:1], [("w", [0])], 0.07), np.array([3.0]), tmp_path / "one.png", unit="frames"
    )
    assert (tmp_path / "one.png").stat().st_size > 5000


@pytest.mark.slow  # UMAP compiles itself for half a minute
def test_mined_signs_form_clusters_and_depend_on_the_seed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tokens = np.concatenate([np.eye(8)[n] + rng.normal(0, 0.05, (15, 8)) for n in range(3)])
    labels = np.repeat(np.arange(3), 15)
    places = layout(tokens, seed=1)
    assert (places == layout(tokens, seed=1)).all()
    middles = np.stack([places[labels == n].mean(0) for n in range(3)])
    nearest = ((places[:, None] - middles[None]) ** 2).sum(-1).argmin(1)
    assert (nearest == labels).mean() > 0.95
    plot_mined_signs(tokens, [f"word {n}" for n in labels], tmp_path / "mined.png")
    assert (tmp_path / "mined.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match="at least 4"):
        layout(tokens[:3])


def test_labels_are_above_their_clusters_despite_outliers() -> None:
    cluster = np.array([[0.0, 0.0], [0.2, 0.1], [0.1, 0.3], [-0.1, 0.2], [0.0, 0.2]])
    stragglers = np.array([[9.0, 50.0], [12.0, 40.0]])
    x, y = label_position(np.concatenate([cluster, stragglers]))
    assert abs(x) < 0.3
    assert y <= 0.3
