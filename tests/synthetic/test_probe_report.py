"""Probe reports: open shortcuts, a full run on a small corpus, and refused corpora."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from signatlas.corpus import composed
from signatlas.corpus.format import Corpus
from signatlas.corpus.report import as_text, describe
from signatlas.errors import CorpusError
from signatlas.synthetic.composition.corpora import plan
from signatlas.synthetic.probes import probe_report
from trainers.pipelines.compose import compose

REPORT: dict[str, Any] = {
    "limits": probe_report.LIMITS,
    "source": {"before": 0.9, "after": 0.6, "share_of_frames": 0.2, "after_for_random_words": [0.5, 0.7]},
    "seam": {"auc": 0.6, "auc_boosted": 0.62, "auc_seven_frames": 0.61, "auc_seven_frames_boosted": 0.63},
    "frames": {"median_ratio": 1.0, "within_a_tenth": 1.0, "plain_concatenation_median_ratio": 1.9},
    "template": {"wer": 0.5, "missed": {"own": 0.6, "shared": 0.4}, "clips": 9, "templates": 9},
}


@pytest.mark.parametrize(
    ("probe", "key", "value", "line"),
    [
        ("source", "after", 0.66, "a single frame tells the source of a sign: balanced accuracy 0.66"),
        ("seam", "auc", 0.7, "seams show in velocity and jerk: AUC 0.70"),
        ("frames", "within_a_tenth", 0.5, "only 50% of the clips last as long as the originals"),
        ("template", "wer", 0.1, "template matching without learning has a WER of 10%"),
    ],
)
def test_probes_beyond_their_limit_are_open_shortcuts(probe: str, key: str, value: float, line: str) -> None:
    assert probe_report.open_shortcuts(REPORT) == []
    missed = REPORT | {probe: REPORT[probe] | {key: value}}
    assert probe_report.open_shortcuts(missed) == [line]
    text = "\n".join(composed.probe_lines(missed | {"open": [line]}))
    assert f"OPEN SHORTCUT: {line}" in text


def test_seams_found_by_stronger_detectors_are_open_shortcuts() -> None:
    missed = REPORT | {"seam": REPORT["seam"] | {"auc_seven_frames_boosted": 0.83}}
    assert probe_report.open_shortcuts(missed) == [
        "seams show to stronger detectors than the limit is for: AUC up to 0.83"
    ]


def test_the_source_probe_is_skipped_without_two_kinds_of_words() -> None:
    report = REPORT | {"source": None, "frames": None, "open": []}
    assert probe_report.open_shortcuts(report) == []
    text = "\n".join(composed.probe_lines(report))
    assert "same kind of recordings" in text and "no open shortcut" in text


def test_too_few_connected_signs_are_an_error(ray_session: None, lexicon_corpus: Path, tmp_path: Path) -> None:
    file = tmp_path / "one.jsonl"
    rows = [{"id": s, "split": s, "glosses": ["many0"], "texts": {"de": s}} for s in ("train", "dev", "test")]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    corpus = compose(plan("sentences", Corpus.open(lexicon_corpus), sentences=file, name="one"), tmp_path / "one")
    with pytest.raises(CorpusError, match="too few connected signs"):
        probe_report.run_probes(corpus, Corpus.open(lexicon_corpus), progress=lambda _: None)


@pytest.fixture(scope="module")
def composed_corpus(
    ray_session: None, lexicon_corpus: Path, sentences_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Corpus:
    out = tmp_path_factory.mktemp("composed") / "own"
    return compose(plan("sentences", Corpus.open(lexicon_corpus), sentences=sentences_file, name="own"), out)


@pytest.mark.slow
def test_all_probes_run_on_a_small_corpus(composed_corpus: Corpus, lexicon_corpus: Path) -> None:
    lines: list[str] = []
    report = probe_report.run_probes(composed_corpus, Corpus.open(lexicon_corpus), progress=lines.append)
    assert len(lines) == 3
    assert report["source"] is not None and 0.4 <= report["source"]["after"] <= 1
    assert report["source"]["before"] > 0.9, "the cameras of the lexicon differ before calibration"
    assert len(report["source"]["after_for_random_words"]) == probe_report.RANDOM_SETS
    assert 0.4 <= report["seam"]["auc"] <= 1
    assert report["template"]["clips"] > 0 and set(report["template"]["missed"]) == {"own", "shared"}
    assert composed.load_probes(composed_corpus) is None
    assert "not measured" in composed.notes(composed_corpus)[0]
    probe_report.save_report(composed_corpus, report | {"open": ["a line"]})
    assert composed.notes(composed_corpus) == ["note: OPEN SHORTCUT of this corpus: a line"]
    probe_report.save_report(composed_corpus, report)
    assert composed.load_probes(composed_corpus) == report
    text = as_text(describe(composed_corpus))
    assert "not for learning to sign" in text and "template matching, no learning" in text


def test_only_composed_corpora_are_probed_and_only_with_their_lexicon(
    composed_corpus: Corpus, lexicon_corpus: Path, small_corpus: Path
) -> None:
    with pytest.raises(CorpusError, match="was not composed of signs"):
        probe_report.run_probes(Corpus.open(lexicon_corpus), Corpus.open(lexicon_corpus))
    with pytest.raises(CorpusError, match="is not the lexicon of"):
        probe_report.run_probes(composed_corpus, Corpus.open(small_corpus))
