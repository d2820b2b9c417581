"""signatlas corpus import: keypoints, lexicons of .pose files, and public corpora."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from signatlas.corpus import Corpus, sources
from signatlas.corpus.doctor import examine, notes
from signatlas.corpus.sources.base import Listing
from signatlas.pose.serialization import write_pose
from tests.cli.conftest import Run
from tests.corpus.sources import releases


@pytest.fixture
def lexicon(tmp_path: Path) -> Path:
    """A lexicon of three entries: a valid file, a truncated one, a missing one."""
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


def test_a_lexicon_of_pose_files(lexicon: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "corpus"
    code, text, err = run("corpus", "import", "pose-lexicon", lexicon, "--out", out, "--license", "MIT", "--json")
    assert code == 1 and "skipped corpus/milk" in err and "truncated" in err
    summary = json.loads(text)
    assert summary["clips"] == 1 and [m["id"] for m in summary["missing"]] == ["corpus/gone"]
    corpus = Corpus.open(out, verify=True)
    assert (corpus.info.license, corpus.info.sign_languages) == ("MIT", ("ase",))
    assert [row["reason"] for row in corpus.info.made["quarantine"]] == [summary["quarantine"][0]["reason"]]
    assert [clip.gloss for clip in corpus] == ["TEA"]
    code, _, err = run("corpus", "import", "pose-lexicon", lexicon, "--out", out)
    assert code == 2 and "already exists" in err
    (lexicon / "tea.pose").write_bytes(b"nothing")
    code, _, err = run("corpus", "import", "pose-lexicon", lexicon, "--out", tmp_path / "none")
    assert code == 2 and "none of its 2 .pose files can be used" in err and not (tmp_path / "none").exists()


def test_list_prints_and_imports_nothing(lexicon: Path, tmp_path: Path, run: Run) -> None:
    code, text, _ = run("corpus", "import", "pose-lexicon", lexicon, "--list")
    assert code == 0 and "lexicon/tea, train, ase, TEA: " in text and "missing lexicon/gone: no file" in text
    assert text.splitlines()[-1] == "lexicon: 2 recordings, 1 missing; unknown"
    index = lexicon / "index.csv"
    index.write_text(index.read_text(encoding="utf-8").replace("0,0,tea", "40,0,tea"), encoding="utf-8")
    code, text, _ = run("corpus", "import", "pose-lexicon", lexicon, "--list", "--json", "--name", "mine")
    summary = json.loads(text)
    assert summary["items"][0]["seconds"] == [0.04, None] and summary["missing"][0]["id"] == "mine/gone"
    code, text, _ = run("corpus", "import", "pose-lexicon", lexicon, "--list")
    assert "0.04-end s" in text
    code, _, err = run("corpus", "import", "pose-lexicon", lexicon)
    assert code == 2 and "no --out" in err


def test_an_unknown_kind_is_one_line(tmp_path: Path, run: Run) -> None:
    code, _, err = run("corpus", "import", tmp_path, "--out", tmp_path / "x")
    assert code == 2 and err.count("\n") == 1 and "see 'signatlas corpus import --help'" in err
    code, _, err = run("corpus", "import", "keypoint", tmp_path)
    assert code == 2 and "did you mean 'keypoints'?" in err


def test_a_folder_of_keypoints(run: Run, tmp_path: Path) -> None:
    for i in range(10):
        file = tmp_path / "raw" / "tea" / f"{i}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.random.default_rng(i).uniform(0.1, 0.9, (5, 258)))
    out = tmp_path / "mine"
    options = ("--out", out, "--sign-language", "sgn-GB", "--text-language", "en")
    code, text, err = run("corpus", "import", "keypoints", tmp_path / "raw", *options)
    assert code == 0, err
    assert "train 7, dev 1, test 2" in text and Corpus.open(out).info.sign_languages == ("bfi",)
    code, _, err = run("corpus", "import", "keypoints", tmp_path / "raw", *options)
    assert code == 2 and "already exists" in err
    np.save(tmp_path / "raw" / "tea" / "bad.npy", np.ones((5, 99)))
    other = ("--out", tmp_path / "other", "--sign-language", "bfi")
    code, _, err = run("corpus", "import", "keypoints", tmp_path / "raw", *other)
    assert code == 2 and err.count("\n") == 1 and "bad.npy" in err and "258" in err
    assert not (tmp_path / "other").exists()


def test_every_public_corpus_has_a_command_and_its_help(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    overview = run("corpus", "import", "--help")[1]
    for name in sources.names("import"):
        release = sources.load(name).RELEASE
        assert name == release.name
        line = next(line for line in overview.splitlines() if line.split()[:1] == [name])
        assert release.title in line and release.url in line
        page = run("corpus", "import", name, "--help")[1]
        assert f"Example: signatlas corpus import {name}" in page
    for name in sources.names("fetch"):
        assert name in run("corpus", "fetch", "--help")[1]


def test_a_corpus_that_cannot_be_downloaded_says_how_to_get_it(run: Run, tmp_path: Path) -> None:
    code, _, err = run("corpus", "fetch", "how2sign", "--out", tmp_path / "x")
    assert code == 2 and err.count("\n") == 1
    assert "get it from https://how2sign.github.io/, then run 'signatlas corpus import how2sign FOLDER'" in err


@pytest.mark.parametrize("name", sources.names("import"))
def test_list_prints_recordings_and_missing_ones(name: str, run: Run, tmp_path: Path) -> None:
    write_release: Any = getattr(releases, "phoenix_csv" if name == "phoenix14t" else name.replace("-", "_"))
    root = write_release(tmp_path)
    if name == "phoenix14t":
        releases.phoenix_frames(root)
    if name == "autsl":
        next((root / "train").glob("*_color.mp4")).unlink()
    code, text, err = run("corpus", "import", name, root, "--list")
    assert code == 0, err
    listing = sources.load(name).read(root)
    assert isinstance(listing, Listing)
    assert listing.missing and sum(line.startswith("missing ") for line in text.splitlines()) == len(listing.missing)
    assert text.splitlines()[-1].startswith(f"{name}: {len(listing)} recordings, {len(listing.missing)} missing; ")
    code, text, _ = run("corpus", "import", name, root, "--list", "--json")
    summary = json.loads(text)
    assert [item["id"] for item in summary["items"]] == [item.id for item in listing]
    assert [gone["id"] for gone in summary["missing"]] == [gone.id for gone in listing.missing]
    code, _, err = run("corpus", "import", name, root)
    assert code == 2 and "no --out" in err
    code, _, err = run("corpus", "import", name, tmp_path / "none", "--list")
    assert code == 2 and err.count("\n") == 1 and sources.load(name).RELEASE.url in err


@pytest.fixture
def phoenix(tmp_path: Path, mirror: Path | None) -> Path:
    """A release with invented words; sun-1 shows a real signer, fog-1 and dew-1 show nobody."""
    root = releases.phoenix_frames(releases.phoenix_csv(tmp_path / "release"))
    if mirror is not None and (mirror / "video").is_dir():
        import itertools

        from PIL import Image

        from signatlas.pose.video import frames

        folder = root / "features" / "fullFrame-210x260px" / "train" / "sun-1"
        shutil.rmtree(folder)
        folder.mkdir()
        video = frames(mirror / "video" / "posefmt_test_video.mp4", span=(10, 22))
        for number, image in enumerate(itertools.islice(video, 12), start=1):
            Image.fromarray(image).save(folder / f"images{number:04d}.png")
    return root


@pytest.mark.slow
def test_a_release_is_extracted_into_a_corpus(
    phoenix: Path, run: Run, tmp_path: Path, mirror: Path | None, ray_session: None
) -> None:
    out = tmp_path / "corpus"
    code, text, err = run("corpus", "import", "phoenix14t", phoenix, "--out", out, "--workers", 1, "--json")
    if mirror is None or not (mirror / "video").is_dir():
        assert code == 2 and "none of 3 recordings can be used" in err
        return
    assert code == 1, err
    summary = json.loads(text)
    assert summary["clips"] == 1 and [gone["id"] for gone in summary["missing"]] == ["phoenix14t/train/sun-2"]
    assert {q["id"] for q in summary["quarantine"]} == {"phoenix14t/dev/fog-1", "phoenix14t/test/dew-1"}
    assert all("no hand detected" in q["reason"] for q in summary["quarantine"])
    corpus = Corpus.open(out, verify=True)
    (clip,) = corpus
    assert (clip.id, clip.split, clip.signer, clip.sign_language) == (
        "phoenix14t/train/sun-1", "train", "Signer01", "gsg",
    )  # fmt: skip
    assert (clip.num_frames, clip.fps, clip.width, clip.height) == (12, 25.0, 210, 300)
    assert clip.glosses == ("SONNE", "ABER", "KALT") and clip.texts == (("de", "die sonne lacht aber es ist kalt"),)
    assert corpus.info.license.startswith("CC BY-NC-SA") and corpus.info.made["splits"] == "the authors'"
    assert corpus.info.made["command"] == "signatlas corpus import phoenix14t"
    assert examine(corpus) == [] and len(notes(corpus)) == 2
    code, _, err = run("corpus", "import", "phoenix14t", phoenix, "--out", out)
    assert code == 2 and "already exists" in err
