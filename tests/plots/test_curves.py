"""Training curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signatlas.plots.curves import curves


def pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)


def test_curves_are_drawn_for_chosen_metrics(tmp_path: Path) -> None:
    history = [{"epoch": e, "loss": 3 / (e + 1), "lr": 1e-3} | ({"R@1": e / 9} if e % 3 == 0 else {}) for e in range(9)]
    curves(history, tmp_path / "all.png")
    curves(history, tmp_path / "two.png", panels=[["loss"], ["R@1"]], title="a run")
    assert pixels(tmp_path / "all.png").shape[1] > pixels(tmp_path / "two.png").shape[1]
    with pytest.raises(ValueError, match="no metrics to plot"):
        curves([], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
