"""WLASL: time spans, boxes, splits, signers, subsets, dead links."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from signatlas.corpus.sources import wlasl
from signatlas.errors import CorpusError

from . import releases


def test_instances(tmp_path: Path) -> None:
    listing = wlasl.read(releases.wlasl(tmp_path / "clone" / "start_kit").parent)
    by_id = {item.id: item for item in listing}
    assert list(by_id) == ["wlasl/00001", "wlasl/00002", "wlasl/00004", "wlasl/00005"]
    assert [(i.split, i.signer, i.gloss) for i in listing] == [
        ("train", "3", "tea"), ("dev", "4", "tea"), ("train", None, "milk"), ("train", "4", "cup"),
    ]  # fmt: skip
    first = by_id["wlasl/00001"]
    assert (first.sign_language, first.texts, first.box) == ("ase", (("en", "tea"),), (4, 2, 60, 46))
    assert first.seconds is None and first.media.endswith("videos/00001.mp4")
    assert by_id["wlasl/00002"].seconds is None, "already cut by the scripts of the authors"
    # Frames 3 to 7, counted from 1, are those at .08, .12, .16, .20 and .24 s.
    assert by_id["wlasl/00004"].seconds == (0.06, 0.26)
    late = by_id["wlasl/00005"]
    assert late.media.endswith("raw_videos/abcdefghijk.mkv") and late.seconds == (0.98, 1.98)
    assert [m.id for m in listing.missing] == ["wlasl/00003"]
    assert "dead: http://gone.example/milk.swf" in listing.missing[0].reason
    assert listing.info.made["named"] == 5 and "C-UDA" in listing.info.license


def test_subsets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    releases.wlasl(tmp_path)
    monkeypatch.setattr(wlasl, "SUBSETS", (1, 100))
    one = wlasl.read(tmp_path, subset=1, whole_frame=True)
    assert {item.gloss for item in one} == {"tea"} and all(item.box is None for item in one)
    assert one.info.made["subset_by"] == "order of the JSON" and not one.missing
    chosen = {"00004": {"subset": "test", "action": [0, 1, 2]}, "00003": {"subset": "val", "action": [0, 1, 2]}}
    (tmp_path / "nslt_100.json").write_text(json.dumps(chosen), encoding="utf-8")
    hundred = wlasl.read(tmp_path, subset=100)
    assert [(i.id, i.split) for i in hundred] == [("wlasl/00004", "test")]
    assert [m.id for m in hundred.missing] == ["wlasl/00003"] and hundred.info.made["subset_by"] == "nslt_100.json"
    with pytest.raises(CorpusError, match="WLASL has no subset 7: choose one of 1, 100"):
        wlasl.read(tmp_path, subset=7)


def test_incomplete_and_malformed_releases_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"does not contain WLASL_v0.3.json; .*dxli94.github.io"):
        wlasl.read(tmp_path)
    releases.wlasl(tmp_path)
    shutil.rmtree(tmp_path / "videos")
    shutil.rmtree(tmp_path / "raw_videos")
    with pytest.raises(CorpusError, match="has no video in videos/ or raw_videos/"):
        wlasl.read(tmp_path)
    releases.write_video(tmp_path / "videos" / "99999.mp4")
    with pytest.raises(CorpusError, match="contains none of the 5 recordings"):
        wlasl.read(tmp_path)
    (tmp_path / "nslt_100.json").write_text('{"1": {}}', encoding="utf-8")
    with pytest.raises(CorpusError, match=r"nslt_100.json does not map video ids"):
        wlasl.read(tmp_path, subset=100)
    (tmp_path / "WLASL_v0.3.json").write_text('[{"gloss": "tea"}]', encoding="utf-8")
    with pytest.raises(CorpusError, match=r"WLASL_v0.3.json is not a list of glosses"):
        wlasl.read(tmp_path)
