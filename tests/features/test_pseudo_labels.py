"""Segments from window scores, on worked cases and against a slow reference."""

from __future__ import annotations

import numpy as np
import pytest

from signatlas.errors import FeatureError
from signatlas.features.pseudo_labels import PseudoLabel, Segment, greedy_segments, read, write


def run(*windows: tuple[int, int, float], **settings: float) -> list[Segment]:
    """Return the segments of windows given as (start, class, score)."""
    starts, classes, scores = (np.array(column) for column in zip(*windows, strict=True))
    return greedy_segments(scores, starts, classes, **settings)  # type: ignore[arg-type]


def test_a_single_window_is_a_segment() -> None:
    assert run((7, 3, 0.9)) == [Segment(3, 7, 23, 0.9)]


def test_scores_equal_to_the_threshold_do_not_count() -> None:
    assert run((7, 3, 0.6), (60, 3, 0.61)) == [Segment(3, 60, 76, 0.61)]


def test_near_windows_merge_or_are_suppressed_and_far_ones_start_segments() -> None:
    segments = run((10, 0, 0.9), (13, 0, 0.7), (7, 0, 0.8), (14, 0, 0.7), (34, 0, 0.7), (35, 0, 0.65))
    assert segments == [Segment(0, 7, 29, 0.9), Segment(0, 35, 51, 0.65)]


def test_the_best_window_starts_a_segment() -> None:
    """10 and 16 merge with 13; with 10 as the start, 16 would have been suppressed."""
    assert run((10, 0, 0.7), (13, 0, 0.9), (16, 0, 0.8)) == [Segment(0, 10, 32, 0.9)]


def test_a_suppressed_window_suppresses_nothing() -> None:
    """20 is suppressed by 0; 40 is 40 frames from 0 and only 20 from 20, which is not a segment."""
    assert [s.start for s in run((0, 0, 0.9), (20, 0, 0.8), (40, 0, 0.7))] == [0, 40]


def test_a_window_between_two_segments_joins_the_nearer() -> None:
    """28 is 24 frames from 4, which alone would suppress it, and 2 from 30, which it joins."""
    segments = run((4, 0, 0.9), (30, 0, 0.8), (28, 0, 0.7))
    assert segments == [Segment(0, 4, 20, 0.9), Segment(0, 28, 46, 0.8)]


def test_classes_are_independent() -> None:
    segments = run((10, 0, 0.9), (12, 1, 0.8), (14, 0, 0.7))
    assert segments == [Segment(0, 10, 26, 0.9), Segment(1, 12, 28, 0.8)]


def test_no_score_above_the_threshold_gives_no_segments() -> None:
    assert run((1, 0, 0.2)) == []
    assert greedy_segments(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64)) == []


def slow(scores, starts, classes, window, threshold, merge, suppress):
    """Return the segments by a plain loop over windows."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    segments: list[dict] = []
    for i in order:
        if scores[i] <= threshold:
            continue
        of_class = [s for s in segments if s["class"] == classes[i]]
        near = [s for s in of_class if abs(starts[i] - s["seed"]) <= suppress]
        if not near:
            segments.append({"class": classes[i], "seed": starts[i], "all": [starts[i]], "score": scores[i]})
            continue
        closest = min(near, key=lambda s: abs(starts[i] - s["seed"]))
        if abs(starts[i] - closest["seed"]) <= merge:
            closest["all"].append(starts[i])
    rows = [Segment(int(s["class"]), int(min(s["all"])), int(max(s["all"])) + window, s["score"]) for s in segments]
    return sorted(rows, key=lambda s: (s.start, s.label))


@pytest.mark.parametrize("seed", range(20))
def test_segments_equal_a_slow_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    starts = np.arange(0, 200, rng.integers(1, 4))
    scores, classes = rng.uniform(0.3, 1, len(starts)), rng.integers(0, 3, len(starts))
    settings = {"window": 16, "threshold": 0.6, "merge": int(rng.integers(0, 6)), "suppress": int(rng.integers(6, 30))}
    assert greedy_segments(scores, starts, classes, **settings) == slow(scores, starts, classes, **settings)


def test_written_segments_are_read_unchanged(tmp_path) -> None:
    labels = [PseudoLabel("a/ü", "wörd", 3, 19, 0.75), PseudoLabel("b", "word", 0, 22, 1.0)]
    write(tmp_path, labels)
    assert read(tmp_path) == labels
    (tmp_path / "segments.parquet").write_bytes(b"nothing")
    with pytest.raises(FeatureError, match="signatlas spot"):
        read(tmp_path)
