"""Recordings given on a command line: files, folders, globs and URIs."""

from __future__ import annotations

from pathlib import Path

import pytest

from signatlas.corpus.sources.base import Listing
from signatlas.corpus.sources.media_listing import listing
from signatlas.errors import CorpusError, MediaError


def list_media(*paths: Path | str, code: str = "gsg") -> Listing:
    return listing([str(p) for p in paths], name="mine", sign_language=code, license="MIT", source="us")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/take10.mp4", "b/take9.MOV", "a.webm", "c.pose", "notes.txt", ".hidden/x.mp4", "b/.x.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_a_folder_gives_its_recordings_in_natural_order(folder: Path) -> None:
    listed = list_media(folder)
    assert [item.id for item in listed] == ["mine/a", "mine/b/take9", "mine/b/take10", "mine/c"]
    assert [item.media for item in listed] == [
        f"{folder}/{n}" for n in ("a.webm", "b/take9.MOV", "b/take10.mp4", "c.pose")
    ]
    assert {(item.sign_language, item.source) for item in listed} == {("gsg", "video")}
    assert (listed.info.name, listed.info.license, listed.info.source, listed.info.sign_languages) == (
        "mine",
        "MIT",
        "us",
        ("gsg",),
    )


def test_files_globs_and_uris_keep_their_order_without_duplicates(folder: Path) -> None:
    listed = list_media(folder / "c.pose", folder / "b" / "*.mp4", folder / "c.pose", (folder / "a.webm").as_uri())
    assert [item.id for item in listed] == ["mine/c", "mine/take10", "mine/a"]
    assert listed.items[2].media.startswith("file://")
    in_folder = list_media((folder / "b").as_uri())
    assert [item.media for item in in_folder] == [f"{(folder / 'b').as_uri()}/{n}" for n in ("take9.MOV", "take10.mp4")]


def test_folders_of_images_are_recordings(tmp_path: Path) -> None:
    for name in ("s1/1.png", "s1/2.png", "s2/1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [(i.id, i.media) for i in list_media(tmp_path)] == [
        ("mine/s1", f"{tmp_path}/s1"),
        ("mine/s2", f"{tmp_path}/s2"),
    ]
    assert [(i.id, i.media) for i in list_media(tmp_path / "s1")] == [("mine/s1", f"{tmp_path}/s1")]


def test_equal_names_get_different_ids(folder: Path) -> None:
    (folder / "a.mp4").write_bytes(b"x")
    (folder / "b" / "a.webm").write_bytes(b"x")
    ids = [item.id for item in list_media(folder / "a.mp4", folder / "a.webm", folder / "b" / "a.webm")]
    assert len(set(ids)) == 3
    assert ids[0] == "mine/a.mp4"


def test_missing_paths_and_empty_folders_are_one_line(folder: Path) -> None:
    with pytest.raises(MediaError, match="is missing"):
        list_media(folder / "gone.mp4")
    with pytest.raises(MediaError, match="no file matches"):
        list_media(folder / "*.avi")
    (folder / "empty").mkdir()
    with pytest.raises(MediaError, match="contains no video"):
        list_media(folder / "empty")
    with pytest.raises(CorpusError, match="ISO 639-3"):
        list_media(folder, code="German")
