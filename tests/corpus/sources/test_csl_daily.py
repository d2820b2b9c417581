"""CSL-Daily: glosses, characters and words; frames; pickles are not read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from signatlas.corpus.sources import csl_daily
from signatlas.errors import CorpusError

from . import releases


def test_annotations(tmp_path: Path) -> None:
    rows = csl_daily.rows(releases.csl_daily(tmp_path / "csl-daily").parent)
    assert [row.name for row in rows] == ["S000001_P0000_T00", "S000002_P0003_T00", "S000003_P0000_T00"]
    second = rows[1]
    assert second.sentence.glosses == ("杯子", "白") and second.sentence.texts == (("zh", "杯子是白的"),)
    assert second.characters == ("杯", "子", "是", "白", "的") and second.words == ("杯子", "是", "白", "的")
    assert (second.tags, second.signer, second.sentence.frames) == (("n", "v", "a", "u"), "P0003", 4)
    assert csl_daily.read_sentences(tmp_path) == [row.sentence for row in rows]


def test_recordings_and_missing_ones(tmp_path: Path) -> None:
    listing = csl_daily.read(releases.csl_daily(tmp_path))
    assert [(i.id, i.split, i.signer) for i in listing] == [
        ("csl-daily/train/S000001_P0000_T00", "train", "P0000"),
        ("csl-daily/dev/S000002_P0003_T00", "dev", "P0003"),
    ]
    first = listing.items[0]
    assert first.media.endswith("sentence/frames_512x512/S000001_P0000_T00") and first.fps == 30.0
    assert (first.sign_language, first.frames, first.texts) == ("csl", 3, (("zh", "我喝茶。"),))
    assert {m.id: m.reason.split(" in ")[0] for m in listing.missing} == {
        "csl-daily/test/S000003_P0000_T00": "no frames and no video S000003_P0000_T00",
        "csl-daily/S000004_P0000_T00": "no split",
        "csl-daily/test/S000009_P0001_T00": "in split_1.txt, but not",
    }
    assert "not in video_map.txt" in listing.missing[-1].reason


def test_videos_instead_of_frames(tmp_path: Path) -> None:
    root = releases.csl_daily(tmp_path)
    releases.write_video(root / "sentence-crop" / "S000003_P0000_T00.mp4", 5)
    third = csl_daily.read(root).items[-1]
    assert third.media.endswith("sentence-crop/S000003_P0000_T00.mp4") and third.fps is None


def test_incomplete_and_malformed_releases_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"does not contain sentence_label; CSL-Daily consists of .*csl-daily"):
        csl_daily.read(tmp_path)
    root = releases.csl_daily(tmp_path)
    labels = root / "sentence_label"
    shutil.move(root / "sentence", root / "elsewhere")
    with pytest.raises(CorpusError, match="has labels, but no recordings: sentence/frames_512x512 is missing"):
        csl_daily.read(root)
    (root / "sentence").mkdir()
    with pytest.raises(CorpusError, match="contains none of the 5 recordings"):
        csl_daily.read(root)
    (labels / "split_1.txt").write_text("name|split\nS000001_P0000_T00|best\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"split_1.txt line 2: expected name\|split"):
        csl_daily.read_sentences(root)
    shutil.move(labels / "video_map.txt", labels / "csl2020ct_v2.pkl")
    with pytest.raises(CorpusError, match=r"only as a pickle, which signatlas does not read: video_map.txt is missing"):
        csl_daily.read_sentences(root)
    (labels / "csl2020ct_v2.pkl").unlink()
    (labels / "split_1.txt").unlink()
    with pytest.raises(CorpusError, match=r"split_1.txt is missing"):
        csl_daily.read_sentences(root)


def test_a_bad_length_is_named(tmp_path: Path) -> None:
    labels = releases.csl_daily(tmp_path) / "sentence_label" / "video_map.txt"
    labels.write_text(labels.read_text(encoding="utf-8").replace("|4|", "|four|"), encoding="utf-8")
    with pytest.raises(CorpusError, match=r"video_map.txt line 3: length is 'four'"):
        csl_daily.read_sentences(tmp_path)
