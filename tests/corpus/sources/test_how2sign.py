"""How2Sign: clips, spans of whole recordings, signers, quotation marks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from signatlas.corpus.sources import how2sign
from signatlas.errors import CorpusError

from . import releases


def test_clips_and_spans_of_recordings(tmp_path: Path) -> None:
    listing = how2sign.read(releases.how2sign(tmp_path))
    clip, span = listing.items
    assert (clip.id, clip.split, clip.signer) == ("how2sign/train/-a_0-5-rgb_front", "train", "5")
    assert clip.media.endswith("sentence_level/train/rgb_front/raw_videos/-a_0-5-rgb_front.mp4")
    assert clip.seconds is None and clip.texts == (("en", 'He said "tea" twice.'),)
    assert span.media.endswith("video_level/train/rgb_front/raw_videos/-a-5-rgb_front.mp4")
    assert span.seconds == (3.25, 4.0) and span.texts == (("en", 'Pour it in the cup".'),)
    assert span.sign_language == "ase" and "CC BY-NC" in listing.info.license
    assert {m.id: m.reason for m in listing.missing} == {
        "how2sign/dev/b-c_0-11-rgb_front": "no clip, and its end 7 is not after its start 7",
        "how2sign/test/d_0-2-rgb_front": "no d_0-2-rgb_front.mp4 and no d-2-rgb_front.mp4",
    }


def test_tables_in_the_folders_of_the_download_script(tmp_path: Path) -> None:
    releases.how2sign(tmp_path)
    for split in ("train", "val", "test"):
        name = f"how2sign_realigned_{split}.csv"
        folder = tmp_path / "sentence_level" / split / "text" / "en" / "raw_text" / "re_aligned"
        folder.mkdir(parents=True)
        shutil.move(tmp_path / name, folder / name)
    assert len(how2sign.read(tmp_path)) == 2


def test_incomplete_and_malformed_releases_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no folder at"):
        how2sign.read(tmp_path / "none")
    with pytest.raises(CorpusError, match=r"does not contain how2sign_realigned_train.csv; .*how2sign.github.io"):
        how2sign.read(tmp_path)
    root = releases.how2sign(tmp_path)
    test = root / "how2sign_realigned_test.csv"
    whole = test.read_text(encoding="utf-8")
    test.write_text(whole.replace("SENTENCE_NAME", "CLIP"), encoding="utf-8")
    with pytest.raises(CorpusError, match=r"how2sign_realigned_test.csv line 2: columns VIDEO_ID, VIDEO_NAME"):
        how2sign.read(root)
    test.write_text(whole.replace("\t0\t2\t", "\tsoon\t2\t"), encoding="utf-8")
    releases.write_video(root / "test" / "d-2-rgb_front.mp4")
    with pytest.raises(CorpusError, match=r"line 2: start or end is not a number"):
        how2sign.read(root)
    test.write_text(whole + "short\tline\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"line 3: 2 values, expected 7"):
        how2sign.read(root)
    test.write_text(whole, encoding="utf-8")
    for folder in ("sentence_level", "video_level", "val", "test"):
        shutil.rmtree(root / folder)
    with pytest.raises(CorpusError, match="contains none of the 4 recordings"):
        how2sign.read(root)
