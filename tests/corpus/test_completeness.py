"""What the doctor says of frames and recordings that are not there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from signatlas.corpus import Clip, Corpus, CorpusInfo, completeness, write_corpus
from signatlas.corpus.report import examine


def clip(id: str, frames: int, nothing: slice, fps: float | None = 25.0) -> Clip:
    poses = np.random.default_rng(len(id)).uniform(size=(frames, 75, 3)).astype(np.float32)
    poses[nothing] = np.nan
    return Clip(id, "train", poses, "ase", "test", fps=fps)


def test_a_gap_is_half_a_second_without_a_point() -> None:
    assert completeness.gap(clip("whole", 40, slice(0, 0))) is None
    assert completeness.gap(clip("blink", 40, slice(5, 17))) is None  # 12 frames of 25 a second: .48 s
    assert completeness.gap(clip("lost", 40, slice(5, 18))) == (5, 18)
    assert completeness.gap(clip("slow", 40, slice(30, 40), fps=20.0)) == (30, 40)
    assert completeness.gap(clip("first", 40, slice(0, 12), fps=None)) == (0, 12)
    assert completeness.gap(clip("short", 40, slice(0, 11), fps=None)) is None
    two = clip("two", 60, slice(3, 20))
    two.poses[30:55] = np.nan
    assert completeness.gap(two) == (30, 55)


def test_one_line_for_all_gaps_the_longest_first() -> None:
    assert completeness.gap_line({}) == []
    line = completeness.gap_line({"a": (0, 13), "b": (5, 40), "c": (0, 14), "d": (0, 15), "e": (0, 12)})
    assert len(line) == 1 and "point in b (frames 5-39), d (frames 0-14), c (frames 0-13) and 2 more" in line[0]


def test_the_doctor_tells(tmp_path: Path) -> None:
    short = [{"id": f"q{i}", "reason": "yields 3 frames, 40 are announced"} for i in range(4)]
    made = {"named": 7, "missing": [{"id": "x", "reason": "dead link"}], "quarantine": short}
    clips = [clip("whole", 30, slice(0, 0)), clip("lost", 40, slice(5, 18))]
    write_corpus(tmp_path / "c", CorpusInfo("c", "1", "x", "x", ("ase",), made=made), clips)
    corpus = Corpus.open(tmp_path / "c")
    assert examine(corpus) == [
        "missing frames: half a second or more without a single point in lost (frames 5-17)",
    ]
    quarantine, missing = completeness.notes(corpus)
    assert quarantine.startswith("4 in quarantine: q0: yields 3 frames") and "and 1 more in corpus.json" in quarantine
    assert missing == "1 missing at the source: x: dead link"


def test_short_extractions(tmp_path: Path) -> None:
    clips = [clip(f"c{number}", 30, slice(0, 0)) for number in range(7)]
    write_corpus(tmp_path / "c", CorpusInfo("c", "1", "x", "x", ("ase",)), clips)
    corpus = Corpus.open(tmp_path / "c")
    assert examine(corpus) == []
    rows = [
        {"id": "c0", "media": "a.mp4", "frames": 32},  # two frames are what containers are off by
        {"id": "c1", "media": "a.mp4", "frames": 33},
        {"id": "c2", "media": "a.mp4", "span": [100, 160]},
        {"id": "c3", "media": "a.mp4", "seconds": [1.0, 2.4]},  # 35 frames of 25 a second, unless the rate varies
        {"id": "c4", "media": "a.mp4", "seconds": [1.0, 2.2]},
        {"id": "c5", "media": "a.mp4"},
        {"id": "c6", "media": "a.mp4", "span": [0, 35]},
    ]
    beside = tmp_path / "c" / "media.jsonl"
    beside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert examine(corpus) == [
        "short extraction: fewer frames than announced in c2 (30 of 60 frames), c6 (30 of 35 frames), "
        "c1 (30 of 33 frames)"
    ]
    beside.write_text("{", encoding="utf-8")
    assert "media.jsonl is damaged" in examine(corpus)[0]
    thinned = CorpusInfo("t", "1", "x", "x", ("ase",), made={"options": {"target_fps": 10.0}})
    write_corpus(tmp_path / "t", thinned, clips, beside={"media.jsonl": json.dumps(rows[2])})
    assert examine(Corpus.open(tmp_path / "t")) == []


def test_recordings_that_nobody_tells_of(tmp_path: Path) -> None:
    assert completeness.untold({}, 3) == [] and completeness.untold({"named": 3}, 3) == []
    assert completeness.untold({"named": 5, "missing": [{}]}, 3) == [
        "5 recordings were named, 4 are clips, missing or in quarantine"
    ]
