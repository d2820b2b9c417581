"""signatlas corpus fetch, info, doctor and export."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from signatlas.corpus import Corpus
from tests.cli.conftest import Run


@pytest.fixture
def procedural(tmp_path: Path, run: Run) -> Path:
    out = tmp_path / "procedural"
    counts = ("--signs", 4, "--signers", 3, "--takes", 2)
    code, out_text, _ = run("corpus", "compose", "--kind", "procedural", "--out", out, *counts)
    assert code == 0 and "procedural, not real signing" in out_text
    return out


def test_info_for_people_and_programs(procedural: Path, run: Run) -> None:
    code, text, _ = run("corpus", "info", procedural)
    assert code == 0 and "PROCEDURAL" in text and "3 known" in text and "Apache-2.0" in text
    code, text, err = run("corpus", "info", procedural, "--plot", "/proc/nope/x.png")
    assert code == 2 and not text and err.count("\n") == 1 and "/proc/nope/x.png cannot be written" in err
    code, text, _ = run("corpus", "info", procedural, "--json")
    info = json.loads(text)
    assert info["clips"] == 24 and info["splits"] == {"train": 8, "dev": 8, "test": 8}
    assert info["signs"] == 4 and info["signers"] == 3 and info["duplicates"] == 0
    hands = info["sources"]["procedural"]["hands"]
    assert hands["frames"] == sum(c.num_frames for c in Corpus.open(procedural)) and 0 < hands["both"] <= 1
    assert info["fingerprint"] == Corpus.open(procedural).info.fingerprint


def test_doctor_finds_damage(procedural: Path, run: Run) -> None:
    assert run("corpus", "doctor", procedural)[0] == 0
    file = procedural / "clips" / "part-00000.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"X")
    code, out, _ = run("corpus", "doctor", procedural)
    assert code == 1 and "part-00000.parquet does not match its checksum" in out
    file.unlink()
    code, out, _ = run("corpus", "doctor", procedural)
    assert code == 1 and "part-00000.parquet is missing" in out


def test_doctor_finds_what_checksums_cannot(tmp_path: Path, run: Run) -> None:
    from signatlas.corpus import Clip, CorpusInfo, write_corpus

    poses = np.random.default_rng(0).normal(size=(3, 75, 3)).astype(np.float32)
    nothing = np.full((2, 75, 3), np.nan, np.float32)
    rows = [
        ("a", "train", poses, "s1"),
        ("b", "test", poses, "s2"),
        ("c", "dev", nothing, "s3"),
        ("d", "dev", poses + 1, "s1"),
    ]
    clips = [Clip(id, split, poses, "ase", "test", signer=signer) for id, split, poses, signer in rows]
    write_corpus(tmp_path / "c", CorpusInfo("c", "1", "x", "x", ("ase",)), clips)
    code, out, _ = run("corpus", "doctor", tmp_path / "c")
    assert code == 1 and len(out.splitlines()) == 3
    assert "the same recording in the splits train, test: a = b" in out
    assert "c has no detected point in any frame" in out
    assert "signer s1 in the splits dev, train" in out


def test_fetch_does_nothing_if_the_corpus_is_complete(
    tmp_path: Path, mirror: Path | None, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIGNATLAS_MIRROR", raising=False)
    code, _, err = run("corpus", "fetch", "signwish11", "--out", tmp_path / "s", "--mirror", tmp_path)
    assert code == 2 and "contains no signwish11" in err and not (tmp_path / "s").exists()
    if mirror and (mirror / "signwish11").is_dir():
        monkeypatch.setenv("SIGNATLAS_MIRROR", str(mirror))
        code, out, err = run("corpus", "fetch", "signwish11", "--out", tmp_path / "s")
        assert code == 0 and out.startswith("created"), err
        before = (tmp_path / "s").stat().st_mtime_ns
        code, out, _ = run("corpus", "fetch", "signwish11", "--out", tmp_path / "s")
        assert code == 0 and out.startswith("already complete")
        assert (tmp_path / "s").stat().st_mtime_ns == before


def test_a_missing_corpus_is_one_line(tmp_path: Path, run: Run) -> None:
    for command in ("info", "doctor"):
        code, out, err = run("corpus", command, tmp_path / "nowhere")
        assert code == 2 and not out and err.count("\n") == 1 and "no corpus at" in err


def test_help_starts_fast() -> None:
    began = time.monotonic()
    page = subprocess.run(
        [sys.executable, "-m", "cli", "corpus", "fetch", "--help"],
        capture_output=True, text=True, check=True, env={**os.environ, "NO_COLOR": "1"},
    ).stdout  # fmt: skip
    assert "Example:" in page and time.monotonic() - began < 5


def test_export_selects_clips(run: Run, small_corpus: Path, tmp_path: Path) -> None:
    code, out, err = run("corpus", "export", small_corpus, "--split", "test", "--source", "webcam",
                         "--out", tmp_path / "o")  # fmt: skip
    selected = Corpus.open(small_corpus).split("test").source("webcam")
    assert code == 0 and f"{len(selected)} .pose files" in out, err
    assert len(list((tmp_path / "o").rglob("*.pose"))) == len(selected) > 0
    code, _, _ = run("corpus", "export", small_corpus, "--clip", "small/webcam/wört 1/001", "--out", tmp_path / "one")
    assert code == 0 and [p.name for p in (tmp_path / "one").rglob("*.pose")] == ["001.pose"]


def test_export_mistakes_are_one_line(run: Run, small_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    for arguments, message in (
        (("--clip", "none", "--out", tmp_path / "x"), "no clip 'none'"),
        (("--size", "big", "--out", tmp_path / "x"), "--size big"),
        (("--out", tmp_path / "o"), "already exists"),
    ):
        code, _, err = run("corpus", "export", small_corpus, *arguments)
        assert code == 2 and err.count("\n") == 1 and message in err
    assert not (tmp_path / "x").exists()
