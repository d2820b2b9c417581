"""Lexicons of .pose files: entries, time spans, unusable files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signatlas.corpus.sources import pose_lexicon
from signatlas.corpus.sources.base import Item
from signatlas.errors import CorpusError
from signatlas.pose.serialization import write_pose

HEADER = "path,spoken_language,signed_language,start,end,words,glosses,priority"


def lexicon(root: Path, *rows: str) -> Path:
    """Write two files of ten frames at 10 fps; x of every point is the frame number in hundredths."""
    (root / "ase").mkdir(parents=True, exist_ok=True)
    poses = np.full((10, 75, 3), 0.5, np.float32)
    poses[:, :, 0] = np.arange(10)[:, None] / 100
    for name in ("tea", "milk"):
        write_pose(root / "ase" / f"{name}.pose", poses, 10.0, 100, 50)
    (root / "index.csv").write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return root


def fail(item: Item, reason: str) -> None:
    raise AssertionError(reason)


def test_entries(tmp_path: Path) -> None:
    root = lexicon(
        tmp_path / "kitchen",
        "ase/tea.pose,en,ase,0,0,tea,TEA,0",
        "ase/tea.pose,fr,ase,0,0,thé,TEA,1",
        "ase/milk.pose,en,sgn-US,200,700,milk please,,0",
        "ase/milk.pose,en,ase,500,0,please,PLEASE,0",
        "ase/gone.pose,en,ase,0,0,gone,GONE,0",
    )
    listing = pose_lexicon.read(root.parent, license="CC0-1.0", source="a kitchen")
    assert [item.id for item in listing] == ["kitchen/ase/tea", "kitchen/ase/milk@200-700", "kitchen/ase/milk@500-end"]
    assert listing.items[0].texts == (("en", "tea"), ("fr", "thé")) and listing.items[0].gloss == "TEA"
    assert listing.items[1].gloss == "milk please" and listing.items[1].sign_language == "ase"
    assert (listing.info.name, listing.info.license, listing.info.source) == ("kitchen", "CC0-1.0", "a kitchen")
    assert "splits" not in listing.info.made
    assert [m.id for m in listing.missing] == ["kitchen/ase/gone"] and "line 6" in listing.missing[0].reason
    whole, middle, rest = pose_lexicon.clips(listing, fail)
    assert (whole.num_frames, whole.fps, whole.width, whole.height) == (10, 10.0, 100, 50)
    np.testing.assert_allclose(middle.poses[:, 0, 0], [0.02, 0.03, 0.04, 0.05, 0.06], atol=1e-6)
    np.testing.assert_allclose(rest.poses[:, 40, 0], np.arange(5, 10) / 100, atol=1e-6)
    assert rest.gloss == "PLEASE" and rest.split == "train"


def test_unusable_files_are_skipped_with_a_reason(tmp_path: Path) -> None:
    root = lexicon(
        tmp_path,
        "ase/tea.pose,en,ase,0,0,tea,,0",
        "ase/milk.pose,en,ase,0,0,milk,,0",
        "ase/tea.pose,en,ase,5000,0,x,,0",
    )
    (root / "ase" / "milk.pose").write_bytes((root / "ase" / "milk.pose").read_bytes()[:500])
    reasons: dict[str, str] = {}
    listing = pose_lexicon.read(root, name="k")
    clips = list(pose_lexicon.clips(listing, lambda item, reason: reasons.update({item.id: reason})))
    assert [clip.id for clip in clips] == ["k/ase/tea"]
    assert "truncated" in reasons["k/ase/milk"]
    assert "ends before 5 s, the start of the entry" in reasons["k/ase/tea@5000-end"]


def test_invalid_lexicons_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"does not contain index.csv; A lexicon of .pose files consists of"):
        pose_lexicon.read(tmp_path)
    with pytest.raises(CorpusError, match=r"index.csv line 2: 5 to 3 ms is not a valid time span"):
        pose_lexicon.read(lexicon(tmp_path, "ase/tea.pose,en,ase,5,3,tea,,0"))
    with pytest.raises(CorpusError, match=r"line 2: end is 'x', expected an integer"):
        pose_lexicon.read(lexicon(tmp_path, "ase/tea.pose,en,ase,0,x,tea,,0"))
    with pytest.raises(CorpusError, match="sign language 'english'"):
        pose_lexicon.read(lexicon(tmp_path, "ase/tea.pose,en,english,0,0,tea,,0"))
    with pytest.raises(CorpusError, match="contains none of the 1 recordings"):
        pose_lexicon.read(lexicon(tmp_path, "ase/gone.pose,en,ase,0,0,tea,,0"))
    (tmp_path / "index.csv").write_text("path,words\na,b\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"index.csv line 2: columns path, words"):
        pose_lexicon.read(tmp_path)


def test_the_lexicon_of_the_mirror(mirror: Path | None) -> None:
    if mirror is None or not (mirror / "pose_lexicon").is_dir():
        pytest.skip("needs the mirror of the public sources: SIGNATLAS_MIRROR")
    listing = pose_lexicon.read(mirror / "pose_lexicon")
    clips = list(pose_lexicon.clips(listing, fail))
    assert [clip.gloss for clip in clips] == ["Kleine", "Kinder", "Essen", "Pizza"] and not listing.missing
    for clip in clips:
        assert (clip.sign_language, clip.width, clip.height, clip.texts[0][0]) == ("sgg", 640, 480, "de")
        hands = clip.poses[:, 33:, :2]
        assert np.isfinite(hands).any() and np.nanmin(hands) > -0.2 and np.nanmax(hands) < 1.2
