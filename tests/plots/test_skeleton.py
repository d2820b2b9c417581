"""Rows of skeletons: drawn limbs, direction of y, chosen frames, figures of neighbors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.collections import LineCollection

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
    """Return the numbers of limbs of body, left and right hand that a strip draws."""
    axes = strip(poses, frames=frames).axes[0]
    return [len(c.get_segments()) for c in axes.collections if isinstance(c, LineCollection)]


def test_missing_points_are_not_drawn() -> None:
    assert limbs(nose_and_hand(), frames=3) == [0, 0, 3 * len(HAND_LIMBS)]
    rng = np.random.default_rng(0)
    assert limbs(rng.random((5, 75, 3)), frames=5) == [5 * len(BODY_LIMBS), 5 * len(HAND_LIMBS), 5 * len(HAND_LIMBS)]


def test_y_points_down_and_the_aspect_is_equal() -> None:
    axes = strip(nose_and_hand()).axes[0]
    bottom, top = axes.get_ylim()
    assert bottom > top
    assert axes.get_aspect() == 1.0


def test_chosen_frames_show_a_hand() -> None:
    assert moments(nose_and_hand(), 3).tolist() == [4, 8, 11]
    assert moments(nose_and_hand(6), 8).tolist() == [4, 5]
    without = nose_and_hand()
    without[:, sk.NUM_BODY :] = np.nan
    assert moments(without, 2).tolist() == [0, 11]


def test_clips_without_points_are_labeled() -> None:
    axes = strip(np.full((4, 75, 3), np.nan)).axes[0]
    assert [text.get_text() for text in axes.texts] == ["no points in any frame"]


def test_neighbors_figure(tmp_path: Path) -> None:
    rows = [Strip(nose_and_hand(), "query: haus")]
    rows += [Strip(nose_and_hand(), f"haus {n}", right=n % 2 == 0) for n in range(5)]
    neighbors(rows, tmp_path / "deep" / "n.png", credit="Recordings: someone")
    image = pixels(tmp_path / "deep" / "n.png")
    assert image.shape[1] > image.shape[0] > 500
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["n.png"]
