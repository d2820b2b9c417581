"""Clips as .pose files: what is written is read back by the adapter of .pose lexicons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from signatlas.corpus import Corpus
from signatlas.corpus.export import export
from signatlas.corpus.format import Clip
from signatlas.corpus.sources import pose_lexicon
from signatlas.errors import CorpusError


def back(folder: Path) -> list[Clip]:
    bad: list[str] = []
    found = list(pose_lexicon.clips(pose_lexicon.read(folder), lambda item, reason: bad.append(reason)))
    assert not bad
    return found


def test_a_corpus_goes_out_and_comes_back(small_corpus: Path, tmp_path: Path) -> None:
    clips = list(Corpus.open(small_corpus))
    assert export(clips, tmp_path / "o") == 120
    found = back(tmp_path / "o")
    assert len(found) == 120 == len(list((tmp_path / "o").rglob("*.pose")))
    for before, after in zip(clips, found, strict=True):
        np.testing.assert_allclose(after.poses, before.poses, rtol=3e-7)
        kept = ("gloss", "texts", "fps", "width", "height", "sign_language")
        assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]


def test_ids_become_names_inside_the_folder(small_corpus: Path, tmp_path: Path) -> None:
    clip = next(iter(Corpus.open(small_corpus)))
    ids = ["../../etc/x", "/abs", "a:b*c", "A:b*c", "...", "a/./b"]
    assert export([replace(clip, id=id) for id in ids], tmp_path / "o") == len(ids)
    files = [path.relative_to(tmp_path / "o").as_posix() for path in (tmp_path / "o").rglob("*.pose")]
    assert len({name.casefold() for name in files}) == len(ids) == len(back(tmp_path / "o"))
    assert [path.name for path in tmp_path.iterdir()] == ["o"]


def test_what_a_pose_file_must_say(small_corpus: Path, tmp_path: Path) -> None:
    clip = replace(next(iter(Corpus.open(small_corpus))), fps=None, width=None, height=None)
    with pytest.raises(CorpusError, match=r"no frame rate.*--fps"):
        export([clip], tmp_path / "o")
    with pytest.raises(CorpusError, match=r"no picture size.*--size"):
        export([clip], tmp_path / "o", fps=25)
    with pytest.raises(CorpusError, match="no clip to export"):
        export([], tmp_path / "o")
    assert list(tmp_path.iterdir()) == []
    export([clip], tmp_path / "o", fps=12.5, size=(320, 200))
    assert [(c.fps, c.width, c.height) for c in back(tmp_path / "o")] == [(12.5, 320, 200)]
    with pytest.raises(CorpusError, match="exists already"):
        export([clip], tmp_path / "o", fps=12.5, size=(320, 200))


def test_the_command(small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["corpus", "export", str(small_corpus), *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    code, said, err = run("--split", "test", "--source", "webcam", "--out", tmp_path / "o")
    wanted = Corpus.open(small_corpus).split("test").source("webcam")
    assert code == 0 and f"{len(wanted)} .pose files" in said and len(back(tmp_path / "o")) == len(wanted) > 0, err
    code, said, _ = run("--clip", "small/webcam/wört 1/001", "--out", tmp_path / "one")
    assert code == 0 and [p.name for p in (tmp_path / "one").rglob("*.pose")] == ["001.pose"]
    for arguments, expected in (
        (("--clip", "none", "--out", tmp_path / "x"), "no clip 'none'"),
        (("--size", "big", "--out", tmp_path / "x"), "--size big"),
        (("--out", tmp_path / "o"), "exists already"),
    ):
        code, _, err = run(*arguments)
        assert code == 2 and err.count("\n") == 1 and expected in err
    assert not (tmp_path / "x").exists()
