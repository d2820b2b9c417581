"""Reliability of confidence words: points, intervals and scores of the figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signatlas.plots import reliability as module
from signatlas.plots.reliability import Scores, reliability


def share(right: int, total: int) -> dict[str, object]:
    return {"total": total, "share": right / total if total else None, "interval": (0.1, 0.9) if total else None}


WORDS = [
    {"word": "probable", "dev": share(4, 5), "test": share(3, 4)},
    {"word": "not found", "dev": share(0, 0), "test": share(1, 2)},
]
THRESHOLDS = {"found": 0.2, "probable": 0.7}


def test_points_and_scores_are_those_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    real = module.save
    monkeypatch.setattr(module, "save", lambda picture, path: (drawn.append(picture), real(picture, path)))
    scores = [Scores("right", np.array([0.8, 0.9])), Scores("wrong", np.array([])), Scores("absent", np.array([0.1]))]
    reliability(WORDS, scores, THRESHOLDS, tmp_path / "words.png", split="test")
    assert (tmp_path / "words.png").read_bytes().startswith(b"\x89PNG")
    left, right = drawn[0].axes
    dev, test = left.containers
    assert dev.lines[0].get_ydata().tolist() == [0.8]  # no dev answer was "not found"
    assert test.lines[0].get_ydata().tolist() == [0.75, 0.5]
    ends = [segment[:, 1].tolist() for segment in test.lines[2][0].get_segments()]
    np.testing.assert_allclose(ends, [[0.1, 0.9], [0.1, 0.9]])
    assert [text.get_text() for text in left.get_xticklabels()] == ["probable\n5, 4", "not found\n0, 2"]
    assert [line.get_xdata()[0] for line in right.lines] == [0.2, 0.7]
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["right (2)", "absent (1)"]


def test_nothing_to_draw_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no words or no scores"):
        reliability([], [Scores("right", np.array([0.5]))], THRESHOLDS, tmp_path / "x.png")
    with pytest.raises(ValueError, match="no words or no scores"):
        reliability(WORDS, [Scores("right", np.array([]))], THRESHOLDS, tmp_path / "x.png")
