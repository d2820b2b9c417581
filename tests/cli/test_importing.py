"""signatlas corpus import, for recordings whose poses are there already."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from signatlas.corpus import Corpus
from signatlas.pose.serialization import write_pose


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["corpus", "import", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture
def lexicon(tmp_path: Path) -> Path:
    """Three entries: a whole file, a truncated one, a missing one."""
    root = tmp_path / "lexicon"
    root.mkdir()
    poses = np.random.default_rng(0).uniform(0.2, 0.8, (8, 75, 3)).astype(np.float32)
    for name in ("tea", "milk"):
        write_pose(root / f"{name}.pose", poses, 25.0, 100, 50)
    (root / "milk.pose").write_bytes((root / "milk.pose").read_bytes()[:900])
    rows = ["path,spoken_language,signed_language,start,end,words,glosses,priority"]
    rows += [f"{name}.pose,en,ase,0,0,{name},{name.upper()},0" for name in ("tea", "milk", "gone")]
    (root / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def test_a_lexicon_of_pose_files(lexicon: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "corpus"
    code, said, err = run(capsys, "pose-lexicon", lexicon, "--out", out, "--license", "MIT", "--json")
    assert code == 1 and "left out corpus/milk" in err and "truncated" in err
    told = json.loads(said)
    assert told["clips"] == 1 and [m["id"] for m in told["missing"]] == ["corpus/gone"]
    corpus = Corpus.open(out, verify=True)
    assert (corpus.info.license, corpus.info.sign_languages) == ("MIT", ("ase",))
    assert [row["reason"] for row in corpus.info.made["quarantine"]] == [told["quarantine"][0]["reason"]]
    assert [clip.gloss for clip in corpus] == ["TEA"]
    code, _, err = run(capsys, "pose-lexicon", lexicon, "--out", out)
    assert code == 2 and "exists already" in err
    (lexicon / "tea.pose").write_bytes(b"nothing")
    code, _, err = run(capsys, "pose-lexicon", lexicon, "--out", tmp_path / "none")
    assert code == 2 and "not one of its 2 .pose files can be used" in err and not (tmp_path / "none").exists()


def test_list_extracts_nothing(lexicon: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = run(capsys, "pose-lexicon", lexicon, "--list")
    assert code == 0 and "lexicon/tea, train, ase, TEA: " in said and "missing lexicon/gone: nothing at" in said
    assert said.splitlines()[-1] == "lexicon: 2 recordings, 1 missing; unknown"
    index = lexicon / "index.csv"
    index.write_text(index.read_text(encoding="utf-8").replace("0,0,tea", "40,0,tea"), encoding="utf-8")
    code, said, _ = run(capsys, "pose-lexicon", lexicon, "--list", "--json", "--name", "mine")
    told = json.loads(said)
    assert told["items"][0]["seconds"] == [0.04, None] and told["missing"][0]["id"] == "mine/gone"
    code, said, _ = run(capsys, "pose-lexicon", lexicon, "--list")
    assert "0.04-end s" in said
    code, _, err = run(capsys, "pose-lexicon", lexicon)
    assert code == 2 and "no --out" in err


def test_the_kind_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, tmp_path, "--out", tmp_path / "x")
    assert code == 2 and err.count("\n") == 1 and "see 'signatlas corpus import --help'" in err
    code, _, err = run(capsys, "keypoint", tmp_path)
    assert code == 2 and "did you mean 'keypoints'?" in err
