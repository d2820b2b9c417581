"""Recall curves: lines and labels of the figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signatlas.plots import retrieval


def test_recall_curves_of_each_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    real = retrieval.save
    monkeypatch.setattr(retrieval, "save", lambda picture, path: (drawn.append(picture), real(picture, path)))
    ranks = np.array([1, 1, 2, 4])
    retrieval.recall(
        [retrieval.Curve("T2V", "de", ranks, 4), retrieval.Curve("V2T", "de", ranks, 4)], tmp_path / "recall.png"
    )
    assert (tmp_path / "recall.png").read_bytes().startswith(b"\x89PNG")
    upper = drawn[0].axes[0]
    assert upper.get_title() == "T2V"
    assert upper.lines[0].get_ydata().tolist() == [0.5, 0.75, 0.75, 1.0]
    assert upper.lines[-1].get_ydata().tolist() == [0.25, 0.5, 0.75, 1.0]  # chance
    shares = [patch.get_data().values for patch in drawn[0].axes[2].patches]
    assert shares[0].tolist() == [0.5, 0.25, 0.25]  # ranks 1, 2, 3 to 4
    assert sum(shares[-1]) == pytest.approx(1.0)


def test_empty_results_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no ranks"):
        retrieval.recall([], tmp_path / "x.png")
    with pytest.raises(ValueError, match="no ranks"):
        retrieval.recall([retrieval.Curve("T2V", "de", np.array([], int), 4)], tmp_path / "x.png")
