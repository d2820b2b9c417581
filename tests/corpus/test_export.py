"""Export clips as .pose files, and import them again as a lexicon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from signatlas.corpus import Corpus
from signatlas.corpus.export import export
from signatlas.corpus.format import Clip
from signatlas.corpus.sources import pose_lexicon
from signatlas.errors import CorpusError


def reimport(folder: Path) -> list[Clip]:
    unusable: list[str] = []
    clips = list(pose_lexicon.clips(pose_lexicon.read(folder), lambda item, reason: unusable.append(reason)))
    assert not unusable
    return clips


def test_a_corpus_goes_out_and_comes_reimport(small_corpus: Path, tmp_path: Path) -> None:
    clips = list(Corpus.open(small_corpus))
    assert export(clips, tmp_path / "o") == 120
    imported = reimport(tmp_path / "o")
    assert len(imported) == 120 == len(list((tmp_path / "o").rglob("*.pose")))
    for before, after in zip(clips, imported, strict=True):
        np.testing.assert_allclose(after.poses, before.poses, rtol=3e-7)
        fields = ("gloss", "texts", "fps", "width", "height", "sign_language")
        assert [getattr(after, name) for name in fields] == [getattr(before, name) for name in fields]


def test_any_id_becomes_a_file_name_inside_the_folder(small_corpus: Path, tmp_path: Path) -> None:
    clip = next(iter(Corpus.open(small_corpus)))
    ids = ["../../etc/x", "/abs", "a:b*c", "A:b*c", "...", "a/./b"]
    assert export([replace(clip, id=id) for id in ids], tmp_path / "o") == len(ids)
    files = [path.relative_to(tmp_path / "o").as_posix() for path in (tmp_path / "o").rglob("*.pose")]
    assert len({name.casefold() for name in files}) == len(ids) == len(reimport(tmp_path / "o"))
    assert [path.name for path in tmp_path.iterdir()] == ["o"]


def test_a_pose_file_needs_frame_rate_and_size(small_corpus: Path, tmp_path: Path) -> None:
    clip = replace(next(iter(Corpus.open(small_corpus))), fps=None, width=None, height=None)
    with pytest.raises(CorpusError, match=r"no frame rate.*--fps"):
        export([clip], tmp_path / "o")
    with pytest.raises(CorpusError, match=r"no image size.*--size"):
        export([clip], tmp_path / "o", fps=25)
    with pytest.raises(CorpusError, match="no clip to export"):
        export([], tmp_path / "o")
    assert list(tmp_path.iterdir()) == []
    export([clip], tmp_path / "o", fps=12.5, size=(320, 200))
    assert [(c.fps, c.width, c.height) for c in reimport(tmp_path / "o")] == [(12.5, 320, 200)]
    with pytest.raises(CorpusError, match="already exists"):
        export([clip], tmp_path / "o", fps=12.5, size=(320, 200))
