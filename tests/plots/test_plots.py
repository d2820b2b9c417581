"""Pictures show what is there: limbs that exist, y downward, right and wrong marked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from signatlas.plots.curves import curves
from signatlas.plots.embedding import embedding_map, layout
from signatlas.plots.skeleton import BODY_LIMBS, HAND_LIMBS, Strip, moments, neighbors, strip
from signatlas.pose import skeleton as sk


def pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)


def nose_and_hand(frames: int = 12) -> np.ndarray:
    poses = np.full((frames, sk.NUM_POINTS, 3), np.nan, np.float32)
    poses[:, sk.NOSE, :2] = (0.5, 0.2)
    rng = np.random.default_rng(0)
    poses[4:, sk.RIGHT_HAND, :2] = rng.normal((0.4, 0.7), 0.03, (frames - 4, sk.NUM_HAND, 2))
    return poses


def limbs(poses: np.ndarray, frames: int) -> list[int]:
    """How many limbs of body, left and right hand a strip draws."""
    axes = strip(poses, frames=frames).axes[0]
    return [len(c.get_segments()) for c in axes.collections if isinstance(c, LineCollection)]


def test_only_what_is_there_is_drawn() -> None:
    assert limbs(nose_and_hand(), frames=3) == [0, 0, 3 * len(HAND_LIMBS)]
    rng = np.random.default_rng(0)
    assert limbs(rng.random((5, 75, 3)), frames=5) == [5 * len(BODY_LIMBS), 5 * len(HAND_LIMBS), 5 * len(HAND_LIMBS)]


def test_y_runs_downward_and_the_aspect_is_equal() -> None:
    axes = strip(nose_and_hand()).axes[0]
    bottom, top = axes.get_ylim()
    assert bottom > top
    assert axes.get_aspect() == 1.0


def test_moments_are_frames_that_show_a_hand() -> None:
    assert moments(nose_and_hand(), 3).tolist() == [4, 8, 11]
    assert moments(nose_and_hand(6), 8).tolist() == [4, 5]
    without = nose_and_hand()
    without[:, sk.NUM_BODY :] = np.nan
    assert moments(without, 2).tolist() == [0, 11]


def test_a_clip_without_points_says_so() -> None:
    axes = strip(np.full((4, 75, 3), np.nan)).axes[0]
    assert [text.get_text() for text in axes.texts] == ["no points in any frame"]


def test_neighbors_picture(tmp_path: Path) -> None:
    rows = [Strip(nose_and_hand(), "query: haus")]
    rows += [Strip(nose_and_hand(), f"haus {n}", right=n % 2 == 0) for n in range(5)]
    neighbors(rows, tmp_path / "deep" / "n.png", credit="Recordings: someone")
    image = pixels(tmp_path / "deep" / "n.png")
    assert image.shape[1] > image.shape[0] > 500
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["n.png"]


def test_curves(tmp_path: Path) -> None:
    history = [{"epoch": e, "loss": 3 / (e + 1), "lr": 1e-3} | ({"R@1": e / 9} if e % 3 == 0 else {}) for e in range(9)]
    curves(history, tmp_path / "all.png")
    curves(history, tmp_path / "two.png", panels=[["loss"], ["R@1"]], title="a run")
    assert pixels(tmp_path / "all.png").shape[1] > pixels(tmp_path / "two.png").shape[1]
    with pytest.raises(ValueError, match="no metrics to plot"):
        curves([], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_map_keeps_words_together(method: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = np.repeat(np.eye(4, 16), 15, axis=0) + rng.normal(0, 0.05, (60, 16))
    words = np.repeat(["a", "b", "c", ""], 15)
    places = layout(vectors, method)  # type: ignore[arg-type]
    centers = np.stack([places[words == w].mean(0) for w in ("a", "b", "c")])
    spread = max(places[words == w].std(0).max() for w in ("a", "b", "c"))
    apart = min(np.linalg.norm(centers[i] - centers[j]) for i in range(3) for j in range(i))
    assert apart > 2 * spread
    embedding_map(vectors, [w or None for w in words], tmp_path / "map.png", method=method)  # type: ignore[arg-type]
    assert pixels(tmp_path / "map.png").std() > 0
