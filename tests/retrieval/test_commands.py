"""`signatlas search` and `signatlas index` on an index of signs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from signatlas.corpus.format import Clip
from signatlas.pose.serialization import write_pose
from signatlas.retrieval.index_version import IndexVersion, activate
from signatlas.retrieval.operation_log.writer import Writer


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit:
        main([str(a) for a in arguments])
    return int(exit.value.code or 0)


@pytest.fixture
def root(write: Callable[..., IndexVersion], tmp_path: Path) -> Path:
    write(tmp_path / "index", shards=2, version="v1")
    activate(tmp_path / "index", "v1")
    return tmp_path / "index"


def test_search_by_clip_prints_a_table(root: Path, clips: list[Clip], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("search", "--index", root, "--clip", clips[0].id, "--top", 3) == 0
    text = capsys.readouterr().out
    assert "Signs most like" in text and "gloss" in text and "wort " in text and "index v1" in text
    assert "synthetic" in text
    assert not any(line.startswith("│ 4") for line in text.splitlines())


def test_json_by_clip_pose_and_array_agree(
    root: Path, clips: list[Clip], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = clips[0]
    assert run("search", "--index", root, "--clip", clip.id, "--json") == 0
    by_clip = json.loads(capsys.readouterr().out)
    assert by_clip["index_version"] == "v1" and len(by_clip["hits"]) == 10
    assert clip.id not in [h["id"] for h in by_clip["hits"]]
    write_pose(tmp_path / "q.pose", clip.poses, 25, 640, 480)
    assert run("search", "--index", root, "--pose", tmp_path / "q.pose", "--top", 11, "--json") == 0
    by_pose = json.loads(capsys.readouterr().out)["hits"]
    assert by_pose[0]["id"] == clip.id
    assert [h["id"] for h in by_pose[1:6]] == [h["id"] for h in by_clip["hits"][:5]]
    np.save(tmp_path / "q.npy", clip.poses)
    assert run("search", "--index", root, "--pose", tmp_path / "q.npy", "--top", 1, "--same-hand", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["hits"]) == 1


def test_signs_are_added_and_removed(
    root: Path, clips: list[Clip], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pose(tmp_path / "tree.pose", clips[0].poses, 25, 640, 480)
    consent = ("--consent-by", "anna", "--consent-use", "search")
    add = ("index", "add", tmp_path / "tree.pose", "--index", root, "--sign-language", "gsg", *consent)
    assert run(*add, "--gloss", "BAUM", "--text", "de:Baum") == 0
    assert capsys.readouterr().out == "added added/tree (position 1 of the log)\n"
    query = ("search", "--index", root, "--pose", tmp_path / "tree.pose", "--same-hand", "--json")

    def found() -> dict[str, str | None]:
        assert run(*query) == 0
        return {hit["id"]: hit["gloss"] for hit in json.loads(capsys.readouterr().out)["hits"]}

    assert found()["added/tree"] == "BAUM"
    assert run("index", "remove", clips[0].id, "--index", root, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"id": clips[0].id, "position": 2}
    assert clips[0].id not in found() and "added/tree" in found()
    (root / "log").rename(tmp_path / "elsewhere")
    assert clips[0].id in found()
    query += ("--log", tmp_path / "elsewhere")
    assert clips[0].id not in found() and "added/tree" in found()
    (tmp_path / "elsewhere").rename(root / "log")
    for arguments, message in (
        ((*add,), "the index has an entry 'added/tree'"),
        ((*add, "--id", "x", "--text", "Baum"), "--text 'Baum': give a language and a text, such as de:Baum"),
        ((*add[:5], "--sign-language", "German", *consent), "--sign-language: String should match"),
        ((*add, "--id", "x", "--text", "de:" + "x" * 2001), "--text: String should have at most 2000"),
        ((*add[:-1], "x" * 501), "--consent-use: String should have at most 500"),
        (("index", "remove", "nobody", "--index", root), "the index has no entry 'nobody'"),
        (("index", "remove", "nobody"), "either --index FOLDER or --url"),
    ):
        assert run(*arguments) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    with Writer(root, name="service 'dgs'", url="http://127.0.0.1:8000"):
        assert run("index", "remove", "added/tree", "--index", root) == 2
    assert "service 'dgs'" in (error := capsys.readouterr().err) and "use --url http://127.0.0.1:8000" in error
    assert run("index", "remove", "added/tree", "--index", root) == 0
    assert b"BAUM" not in (root / "log" / "records" / "000000000001").read_bytes()


def test_mistakes_end_in_one_line(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut.pose").write_bytes(b"\x00\x01")
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "shape.npy", np.zeros((4, 543, 3)))
    np.save(tmp_path / "objects.npy", np.array([None, {}], dtype=object))
    for arguments, message in [
        (("--index", root, "--clip", "nothing"), "no clip 'nothing' in"),
        (("--index", tmp_path / "none", "--clip", "x"), "no index at"),
        (("--index", root), "give one query: --clip ID, --pose FILE"),
        (("--clip", "x"), "either --index FOLDER or --url"),
        (("--index", root, "--pose", tmp_path / "cut.pose"), "not a valid .pose file"),
        (("--index", root, "--pose", tmp_path / "missing.pose"), "cannot be read"),
        (("--index", root, "--pose", tmp_path / "cut.npy"), "not a valid .npy"),
        (("--index", root, "--pose", tmp_path / "objects.npy"), "not a valid .npy"),
        (("--index", root, "--pose", tmp_path / "shape.npy"), "expected [frames, 75, 3]"),
        (("--index", root, "--pose", tmp_path / "film.mp4"), "neither a .pose file nor"),
        (("--url", "http://127.0.0.1:9", "--clip", "x"), "no service at http://127.0.0.1:9"),
    ]:
        assert run("search", *arguments) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error


def test_verify_and_activate(
    root: Path, write: Callable[..., IndexVersion], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("index", "verify", root) == 0
    assert "all 7 files match, 120 vectors" in capsys.readouterr().out
    write(root, version="v2")
    assert run("index", "activate", root, "v2") == 0
    assert (root / "CURRENT").read_text() == "v2\n"
    (root / "v1" / "shard-001" / "index.faiss").write_bytes(b"")
    capsys.readouterr()
    assert run("index", "activate", root, "v1") == 2
    assert "shard-001 of" in capsys.readouterr().err
    assert (root / "CURRENT").read_text() == "v2\n"
