"""Pseudo-labels against true spans, on a hand-computed case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signatlas.corpus.format import Corpus
from signatlas.evaluation.pseudo_labels import class_of_gloss, score_segments, span_windows, true_spans
from signatlas.features.pseudo_labels import PseudoLabel

SPANS = {"x": [("rain", 0, 20), ("sun", 20, 30), ("rain", 40, 60)], "y": [("snow", 0, 16)]}


def test_precision_recall_and_chance() -> None:
    segments = [
        PseudoLabel("x", "rain", 2, 18, 0.9),  # correct
        PseudoLabel("x", "rain", 4, 20, 0.9),  # correct, in the same span
        PseudoLabel("x", "sun", 2, 18, 0.9),  # in the span of another sign
        PseudoLabel("x", "sun", 27, 43, 0.9),  # between signs
        PseudoLabel("y", "snow", 8, 24, 0.9),  # its middle is the first frame after the span
        PseudoLabel("z", "rain", 0, 16, 0.9),  # of a clip without known spans
    ]
    scores = score_segments(segments, SPANS, ["rain", "sun"])
    assert (scores["segments"], scores["spans"], scores["spans_in_vocabulary"]) == (5, 4, 3)
    assert scores["precision"] == pytest.approx(2 / 5)
    assert scores["inside"] == pytest.approx(3 / 5)
    assert scores["recall"] == pytest.approx(1 / 3)
    assert scores["glosses"]["rain"] == {"segments": 2, "precision": 1.0, "spans": 2, "recall": 0.5}
    assert scores["glosses"]["sun"] == {"segments": 2, "precision": 0.0, "spans": 1, "recall": 0.0}
    # Three segments lie inside a span of rain; two of five labels are rain.
    assert scores["chance"] == pytest.approx(3 * (2 / 5) / 5, abs=0.1)


def test_no_segments_and_no_spans() -> None:
    scores = score_segments([], SPANS, ["rain"])
    assert scores["precision"] is None and scores["recall"] == 0.0 and scores["chance"] is None
    assert score_segments([], {}, ["rain"])["recall"] is None


def test_glosses_map_to_the_words_of_their_recordings(continuous_corpus: Path) -> None:
    corpus = Corpus.open(continuous_corpus)
    rows = corpus.metadata()
    spans = true_spans(rows, class_of_gloss(corpus))
    first = rows[0]
    assert spans[first["id"]][0] == (first["glosses"][0].replace("WORD-", "word "), *first["gloss_spans"][0])
    assert true_spans([{"id": "x", "glosses": None, "gloss_spans": None}], {}) == {}


def test_windows_are_centered_on_true_spans() -> None:
    clip, first, label = span_windows(SPANS, ["y", "x"], np.array([16, 60]), 16, ["sun", "rain"])
    assert clip.tolist() == [1, 1, 1]
    assert first.tolist() == [2, 17, 42]
    assert label.tolist() == [1, 0, 1]
    _, at_the_end, _ = span_windows({"x": [("rain", 58, 60)]}, ["x"], np.array([60]), 16, ["rain"])
    assert at_the_end.tolist() == [44], "inside the clip"
