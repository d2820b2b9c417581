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
from signatlas.synthetic.probes import probe_report as examination
from signatlas.synthetic.probes import template_control as control
from trainers.pipelines.compose import compose

FOUND: dict[str, Any] = {
    "limits": examination.LIMITS,
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
def test_each_probe_that_misses_its_limit_is_an_open_shortcut(probe: str, key: str, value: float, line: str) -> None:
    assert examination.open_shortcuts(FOUND) == []
    missed = FOUND | {probe: FOUND[probe] | {key: value}}
    assert examination.open_shortcuts(missed) == [line]
    text = "\n".join(composed.probe_lines(missed | {"open": [line]}))
    assert f"OPEN SHORTCUT: {line}" in text


def test_seams_that_only_stronger_detectors_find_are_open_too() -> None:
    missed = FOUND | {"seam": FOUND["seam"] | {"auc_seven_frames_boosted": 0.83}}
    assert examination.open_shortcuts(missed) == [
        "seams show to stronger detectors than the limit is for: AUC up to 0.83"
    ]


def test_a_corpus_of_one_kind_of_sign_has_no_source_to_tell() -> None:
    whole = FOUND | {"source": None, "frames": None, "open": []}
    assert examination.open_shortcuts(whole) == []
    text = "\n".join(composed.probe_lines(whole))
    assert "same kind of recordings" in text and "no open shortcut" in text


def test_missed_signs_are_counted_by_kind() -> None:
    references, heard = [["a", "b", "c"], ["a", "a"]], [["a", "x", "c", "d"], ["a"]]
    found = control.missed(references, heard, shared={"b"})
    assert found == {"own": pytest.approx(1 / 4), "shared": pytest.approx(1.0)}
    assert control.missed([["golden goal", "ich"]], [["ich"]], {"ich"}) == {"own": 1.0, "shared": 0.0}


def test_too_few_connected_signs_are_one_line(ray_session: None, lexicon_corpus: Path, tmp_path: Path) -> None:
    file = tmp_path / "one.jsonl"
    rows = [{"id": s, "split": s, "glosses": ["many0"], "texts": {"de": s}} for s in ("train", "dev", "test")]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    corpus = compose(plan("sentences", Corpus.open(lexicon_corpus), sentences=file, name="one"), tmp_path / "one")
    with pytest.raises(CorpusError, match="too few connected signs"):
        examination.examine(corpus, Corpus.open(lexicon_corpus), say=lambda _: None)


@pytest.fixture(scope="module")
def made(
    ray_session: None, lexicon_corpus: Path, sentences_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Corpus:
    out = tmp_path_factory.mktemp("composed") / "own"
    return compose(plan("sentences", Corpus.open(lexicon_corpus), sentences=sentences_file, name="own"), out)


def test_the_whole_examination_of_a_small_corpus(made: Corpus, lexicon_corpus: Path) -> None:
    said: list[str] = []
    found = examination.examine(made, Corpus.open(lexicon_corpus), say=said.append)
    assert len(said) == 3
    assert found["source"] is not None and 0.4 <= found["source"]["after"] <= 1
    assert found["source"]["before"] > 0.9, "the two cameras of the lexicon are easy to tell apart"
    assert len(found["source"]["after_for_random_words"]) == examination.RANDOM_SETS
    assert 0.4 <= found["seam"]["auc"] <= 1
    assert found["template"]["clips"] > 0 and set(found["template"]["missed"]) == {"own", "shared"}
    assert composed.load_probes(made) is None
    assert "not measured" in composed.notes(made)[0]
    examination.save(made, found | {"open": ["a line"]})
    assert composed.notes(made) == ["note: OPEN SHORTCUT of this corpus: a line"]
    examination.save(made, found)
    assert composed.load_probes(made) == found
    text = as_text(describe(made))
    assert "not for learning to sign" in text and "template matching, no learning" in text


def test_only_composed_corpora_are_probed_and_only_with_their_lexicon(
    made: Corpus, lexicon_corpus: Path, small_corpus: Path
) -> None:
    with pytest.raises(CorpusError, match="was not composed of signs"):
        examination.examine(Corpus.open(lexicon_corpus), Corpus.open(lexicon_corpus))
    with pytest.raises(CorpusError, match="is not the lexicon of"):
        examination.examine(made, Corpus.open(small_corpus))
