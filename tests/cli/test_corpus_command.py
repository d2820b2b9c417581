"""signatlas corpus, as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from signatlas.corpus import Corpus


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["corpus", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture
def procedural(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    out = tmp_path / "procedural"
    counts = ("--signs", 4, "--signers", 3, "--takes", 2)
    code, said, _ = run(capsys, "compose", "--kind", "procedural", "--out", out, *counts)
    assert code == 0 and "procedural, not real signing" in said
    return out


def test_info_for_people_and_programs(procedural: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, "info", procedural)
    assert code == 0 and "PROCEDURAL" in text and "3 known" in text and "Apache-2.0" in text
    code, text, err = run(capsys, "info", procedural, "--plot", "/proc/nope/x.png")
    assert code == 2 and not text and err.count("\n") == 1 and "/proc/nope/x.png cannot be written" in err
    code, text, _ = run(capsys, "info", procedural, "--json")
    said = json.loads(text)
    assert said["clips"] == 24 and said["splits"] == {"train": 8, "dev": 8, "test": 8}
    assert said["signs"] == 4 and said["signers"] == 3 and said["duplicates"] == 0
    hands = said["sources"]["procedural"]["hands"]
    assert hands["frames"] == sum(c.num_frames for c in Corpus.open(procedural)) and 0 < hands["both"] <= 1
    assert said["fingerprint"] == Corpus.open(procedural).info.fingerprint


def test_show_draws_a_picture(procedural: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "strip.png"
    code, said, _ = run(capsys, "show", procedural, "--clip", "procedural/sign-001/01-0", "--out", out)
    assert code == 0 and out.read_bytes().startswith(b"\x89PNG") and "sign-001" in said and "credit" in said
    code, _, err = run(capsys, "show", procedural, "--clip", "none", "--out", out)
    assert code == 2 and err.count("\n") == 1 and "no clip 'none'" in err


def test_doctor_finds_damage(procedural: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "doctor", procedural)[0] == 0
    file = procedural / "clips" / "part-00000.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"X")
    code, said, _ = run(capsys, "doctor", procedural)
    assert code == 1 and "part-00000.parquet does not match its checksum" in said
    file.unlink()
    code, said, _ = run(capsys, "doctor", procedural)
    assert code == 1 and "part-00000.parquet is missing" in said


def test_doctor_finds_what_checksums_cannot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from signatlas.corpus import Clip, CorpusInfo, write_corpus

    poses = np.random.default_rng(0).normal(size=(3, 75, 3)).astype(np.float32)
    nothing = np.full((2, 75, 3), np.nan, np.float32)
    rows = [
        ("a", "train", poses, "s1"),
        ("b", "test", poses, "s2"),
        ("c", "dev", nothing, "s3"),
        ("d", "dev", poses + 1, "s1"),
    ]
    clips = [Clip(i, split, held, "ase", "test", signer=who) for i, split, held, who in rows]
    write_corpus(tmp_path / "c", CorpusInfo("c", "1", "x", "x", ("ase",)), clips)
    code, said, _ = run(capsys, "doctor", tmp_path / "c")
    assert code == 1 and len(said.splitlines()) == 3
    assert "one recording in the splits train, test: a = b" in said
    assert "c has not a single point" in said
    assert "signer s1 in the splits dev, train" in said


def test_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(10):
        file = tmp_path / "raw" / "tea" / f"{i}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.random.default_rng(i).uniform(0.1, 0.9, (5, 258)))
    out = tmp_path / "mine"
    options = ("--out", out, "--sign-language", "sgn-GB", "--text-language", "en")
    code, said, err = run(capsys, "import", "keypoints", tmp_path / "raw", *options)
    assert code == 0, err
    assert "train 7, dev 1, test 2" in said and Corpus.open(out).info.sign_languages == ("bfi",)
    code, _, err = run(capsys, "import", "keypoints", tmp_path / "raw", *options)
    assert code == 2 and "exists already" in err
    np.save(tmp_path / "raw" / "tea" / "bad.npy", np.ones((5, 99)))
    other = ("--out", tmp_path / "other", "--sign-language", "bfi")
    code, _, err = run(capsys, "import", "keypoints", tmp_path / "raw", *other)
    assert code == 2 and err.count("\n") == 1 and "bad.npy" in err and "258" in err
    assert not (tmp_path / "other").exists()


def test_fetch_does_nothing_when_all_is_there(
    tmp_path: Path, mirror: Path | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIGNATLAS_MIRROR", raising=False)
    code, _, err = run(capsys, "fetch", "signwish11", "--out", tmp_path / "s", "--mirror", tmp_path)
    assert code == 2 and "holds no signwish11" in err and not (tmp_path / "s").exists()
    if mirror and (mirror / "signwish11").is_dir():
        monkeypatch.setenv("SIGNATLAS_MIRROR", str(mirror))
        code, said, err = run(capsys, "fetch", "signwish11", "--out", tmp_path / "s")
        assert code == 0 and said.startswith("made"), err
        before = (tmp_path / "s").stat().st_mtime_ns
        code, said, _ = run(capsys, "fetch", "signwish11", "--out", tmp_path / "s")
        assert code == 0 and said.startswith("already there and whole")
        assert (tmp_path / "s").stat().st_mtime_ns == before


def test_missing_corpus_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("info", "doctor"):
        code, out, err = run(capsys, command, tmp_path / "nowhere")
        assert code == 2 and not out and err.count("\n") == 1 and "no corpus at" in err


def test_help_starts_fast() -> None:
    began = time.monotonic()
    said = subprocess.run(
        [sys.executable, "-m", "cli", "corpus", "fetch", "--help"],
        capture_output=True, text=True, check=True, env={**os.environ, "NO_COLOR": "1"},
    ).stdout  # fmt: skip
    assert "Example:" in said and time.monotonic() - began < 5
