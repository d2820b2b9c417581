"""Manifests: columns, ids, and errors with file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from signatlas.corpus.sources import manifest
from signatlas.errors import CorpusError


def write(tmp_path: Path, content: str, name: str = "mine.csv") -> Path:
    for video in ("a.mp4", "b.mp4", "deep/c.mkv"):
        (tmp_path / video).parent.mkdir(exist_ok=True)
        (tmp_path / video).write_bytes(b"x")
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    return file


def test_only_the_path_is_required(tmp_path: Path) -> None:
    listing = manifest.read(write(tmp_path, "path\na.mp4\ndeep/c.mkv\ngone.mp4\n"), sign_language="sgn-GB")
    assert [(i.id, i.media, i.split) for i in listing] == [
        ("mine/a", str(tmp_path / "a.mp4"), "train"),
        ("mine/deep/c", str(tmp_path / "deep" / "c.mkv"), "train"),
    ]
    assert listing.items[0].sign_language == "bfi" and listing.info.name == "mine" and listing.info.made["named"] == 3
    assert "splits" not in listing.info.made
    assert [m.id for m in listing.missing] == ["mine/gone"] and "mine.csv line 4" in listing.missing[0].reason


def test_every_column(tmp_path: Path) -> None:
    digest = "AB" * 32
    header = "path,id,label,glosses,signer,split,text,language,text_pt-BR,sign_language,start,end,box,frames,fps,sha256"
    rows = [f'a.mp4,one,tea,TEA MILK,s1,val,"tea, please",en,chá,ase,0.5,2,1 2 30 40,38,25,{digest}',
            "b.mp4,two,,,,test,,,,bfi,,,,,,"]  # fmt: skip
    listing = manifest.read(
        write(tmp_path, "\n".join([header, *rows])), name="own", license="CC0-1.0", source="a kitchen"
    )
    one, two = listing.items
    assert (one.id, one.gloss, one.glosses, one.signer, one.split) == ("one", "tea", ("TEA", "MILK"), "s1", "dev")
    assert one.texts == (("en", "tea, please"), ("pt-BR", "chá")) and one.sign_language == "ase"
    assert (one.seconds, one.span, one.box) == ((0.5, 2.0), None, (1, 2, 30, 40))
    assert (one.frames, one.fps, one.sha256, one.source) == (38, 25.0, digest.lower(), "own")
    assert (two.gloss, two.glosses, two.texts, two.seconds, two.box, two.frames) == (None, None, (), None, None, None)
    assert listing.info.sign_languages == ("ase", "bfi") and listing.info.license == "CC0-1.0"
    assert listing.info.made["splits"] == "manifest"


def test_tsv_jsonl_uris_and_spans_of_one_recording(tmp_path: Path) -> None:
    tsv = write(tmp_path, "path\tfirst_frame\tend_frame\na.mp4\t0\t10\na.mp4\t10\t30\n", "cut.tsv")
    assert [(i.id, i.span) for i in manifest.read(tsv, sign_language="ase")] == [
        ("cut/a@0-10", (0, 10)),
        ("cut/a@10-30", (10, 30)),
    ]
    rows = [
        {"path": "s3://bucket/x/y.mp4", "gloss": "tea", "glosses": ["A B", "C"], "box": [0, 0, 5, 6], "signer": 7},
        {"path": str(tmp_path / "b.mp4"), "text_de": "Tee", "frames": None},
    ]
    file = write(tmp_path, "\n".join(json.dumps(row) for row in rows) + "\n\n", "web.jsonl")
    web, local = manifest.read(file, sign_language="gsg").items
    assert (web.id, web.media) == ("web/bucket/x/y", "s3://bucket/x/y.mp4")
    assert (web.glosses, web.box, web.signer) == (("A B", "C"), (0, 0, 5, 6), "7")
    assert local.media == str(tmp_path / "b.mp4") and local.texts == (("de", "Tee"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,singer\na.mp4,x\n", r"line 2: unknown column 'singer': did you mean 'signer'\?"),
        ("path,weather\na.mp4,x\n", r"unknown column 'weather': valid columns are path, id"),
        ("path,id\n,x\n", "line 2: no path"),
        ("path,start\na.mp4,1\n", "give both start and end"),
        ("path,start,end\na.mp4,2,1\n", "start 2 is not before end 1"),
        ("path,start,end,first_frame,end_frame\na.mp4,0,1,0,9\n", "in frames or in seconds, not both"),
        ("path,box\na.mp4,1 2 3\n", "line 2: box is '1 2 3'"),
        ("path,box\na.mp4,5 5 5 9\n", "the box 5 5 5 9 is empty"),
        ("path,text\na.mp4,hello\n", "text without language"),
        ("path,split\na.mp4,train\nb.mp4,\n", "line 3: no split, but other lines have one"),
        ("path,split\na.mp4,best\n", "unknown split 'best'"),
        ("path,frames\na.mp4,many\n", "frames is 'many'"),
        ("path,fps\na.mp4,nan\n", "fps is nan"),
        ("path,sha256\na.mp4,123\n", "sha256 is '123'"),
        ("path,sign_language\na.mp4,english\n", "sign language 'english'"),
        ("path,label,gloss\na.mp4,x,y\n", "label and gloss are synonyms"),
        ("path,id\na.mp4,x\nb.mp4,x\n", "lists the id 'x' twice"),
        ("path\ngone.mp4\n", "none of its 1 recordings exists"),
        ("path,id\na.mp4\n", "line 2: 1 values, expected 2"),
        ("path\n", "lists no recording"),
        ('path,id\n"a.mp4,x\n', "cannot be read as a table"),
    ],
)  # fmt: skip
def test_invalid_manifests_are_one_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message) as error:
        manifest.read(write(tmp_path, content), sign_language="ase")
    assert "\n" not in str(error.value)


def test_files_that_are_not_manifests_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no sign language: add the column sign_language or pass --sign-language"):
        manifest.read(write(tmp_path, "path\na.mp4\n"))
    with pytest.raises(CorpusError, match="no manifest at"):
        manifest.read(tmp_path / "none.csv", sign_language="ase")
    with pytest.raises(CorpusError, match="is not a valid manifest"):
        manifest.read(write(tmp_path, "path\n", "mine.xlsx"), sign_language="ase")
    with pytest.raises(CorpusError, match=r"bad.jsonl line 1 is not JSON"):
        manifest.read(write(tmp_path, "{\n", "bad.jsonl"), sign_language="ase")
    with pytest.raises(CorpusError, match=r"list.jsonl line 1 is not a JSON object"):
        manifest.read(write(tmp_path, "[1]\n", "list.jsonl"), sign_language="ase")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"path": "a.mp4"}\n{"path": "b.mp4", "label": "gr\xfcn"}\n', "line 2 is not UTF-8"),
        (b'{"path": "a.mp4", "id": ["x"]}', r'line 1: id is \["x"\], expected text'),
        (b'{"path": "a.mp4", "text": ["x"], "language": "en"}', "line 1: text is"),
        (b'{"path": ["a.mp4"]}', "line 1: path is"),
        (b'{"path": "a.mp4", "label": {"en": "x"}}', "line 1: label is"),
        (b'{"path": "a.mp4", "signer": true}', "line 1: signer is true"),
        (b'{"path": "a.mp4", "glosses": ["A", ["B"]]}', "line 1: glosses is"),
    ],
)
def test_invalid_values_are_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = write(tmp_path, "", "mine.jsonl")
    file.write_bytes(content)
    with pytest.raises(CorpusError, match=message) as error:
        manifest.read(file, sign_language="ase")
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    file = write(tmp_path, "", "mine.jsonl")
    file.write_bytes(b'\xef\xbb\xbf{"path": "a.mp4"}')
    assert [item.id for item in manifest.read(file, sign_language="ase")] == ["mine/a"]
