"""Checks of a corpus: missing frames, short extractions, recordings that are not in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from signatlas.corpus import Clip, Corpus, CorpusInfo, doctor, write_corpus
from signatlas.corpus.doctor import examine


def clip(id: str, frames: int, gap: slice, fps: float | None = 25.0) -> Clip:
    poses = np.random.default_rng(len(id)).uniform(size=(frames, 75, 3)).astype(np.float32)
    poses[gap] = np.nan
    return Clip(id, "train", poses, "ase", "test", fps=fps)


def test_a_gap_is_half_a_second_without_a_point() -> None:
    assert doctor.longest_gap(clip("whole", 40, slice(0, 0))) is None
    assert doctor.longest_gap(clip("blink", 40, slice(5, 17))) is None  # 12 frames of 25 a second: .48 s
    assert doctor.longest_gap(clip("lost", 40, slice(5, 18))) == (5, 18)
    assert doctor.longest_gap(clip("slow", 40, slice(30, 40), fps=20.0)) == (30, 40)
    assert doctor.longest_gap(clip("first", 40, slice(0, 12), fps=None)) == (0, 12)
    assert doctor.longest_gap(clip("short", 40, slice(0, 11), fps=None)) is None
    two = clip("two", 60, slice(3, 20))
    two.poses[30:55] = np.nan
    assert doctor.longest_gap(two) == (30, 55)


def test_gaps_are_one_line_with_the_longest_first() -> None:
    assert doctor.describe_gaps({}) == []
    line = doctor.describe_gaps({"a": (0, 13), "b": (5, 40), "c": (0, 14), "d": (0, 15), "e": (0, 12)})
    assert len(line) == 1 and "longer in b (frames 5-39), d (frames 0-14), c (frames 0-13) and 2 more" in line[0]


def test_gaps_are_problems_and_quarantine_is_a_note(tmp_path: Path) -> None:
    short = [{"id": f"q{i}", "reason": "has 3 frames, but 40 are announced"} for i in range(4)]
    made = {"named": 7, "missing": [{"id": "x", "reason": "dead link"}], "quarantine": short}
    clips = [clip("whole", 30, slice(0, 0)), clip("lost", 40, slice(5, 18))]
    write_corpus(tmp_path / "c", CorpusInfo("c", "1", "x", "x", ("ase",), made=made), clips)
    corpus = Corpus.open(tmp_path / "c")
    assert examine(corpus) == [
        "missing frames: no detected point for half a second or longer in lost (frames 5-17)",
    ]
    quarantine, missing = doctor.notes(corpus)
    assert quarantine.startswith("4 in quarantine: q0: has 3 frames") and "and 1 more in corpus.json" in quarantine
    assert missing == "1 missing at the source: x: dead link"


def test_clips_shorter_than_announced_are_a_problem(tmp_path: Path) -> None:
    clips = [clip(f"c{number}", 30, slice(0, 0)) for number in range(7)]
    write_corpus(tmp_path / "c", CorpusInfo("c", "1", "x", "x", ("ase",)), clips)
    corpus = Corpus.open(tmp_path / "c")
    assert examine(corpus) == []
    rows = [
        {"id": "c0", "media": "a.mp4", "frames": 32},  # containers are often off by two frames
        {"id": "c1", "media": "a.mp4", "frames": 33},
        {"id": "c2", "media": "a.mp4", "span": [100, 160]},
        {"id": "c3", "media": "a.mp4", "seconds": [1.0, 2.4]},  # 35 frames at 25 fps, unless the rate varies
        {"id": "c4", "media": "a.mp4", "seconds": [1.0, 2.2]},
        {"id": "c5", "media": "a.mp4"},
        {"id": "c6", "media": "a.mp4", "span": [0, 35]},
    ]
    media = tmp_path / "c" / "media.jsonl"
    media.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert examine(corpus) == [
        "short extraction: fewer frames than announced in c2 (30 of 60 frames), c6 (30 of 35 frames), "
        "c1 (30 of 33 frames)"
    ]
    media.write_text("{", encoding="utf-8")
    assert "media.jsonl is damaged" in examine(corpus)[0]
    thinned = CorpusInfo("t", "1", "x", "x", ("ase",), made={"options": {"target_fps": 10.0}})
    write_corpus(tmp_path / "t", thinned, clips, extra_files={"media.jsonl": json.dumps(rows[2])})
    assert examine(Corpus.open(tmp_path / "t")) == []


def test_recordings_that_are_not_accounted_for_are_a_problem(tmp_path: Path) -> None:
    assert doctor.unaccounted_recordings({}, 3) == [] and doctor.unaccounted_recordings({"named": 3}, 3) == []
    assert doctor.unaccounted_recordings({"named": 5, "missing": [{}]}, 3) == [
        "5 recordings are listed, but only 4 are clips, missing or in quarantine"
    ]
