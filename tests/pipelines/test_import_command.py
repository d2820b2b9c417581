"""signatlas corpus import of public corpora: from their authors' files to a corpus."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cli.main import COMMANDS, Entry, main
from signatlas.corpus import Corpus, completeness
from signatlas.corpus.report import examine
from tests.corpus.sources import releases

KINDS = ("wlasl", "autsl", "phoenix14t", "csl_daily", "how2sign")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["corpus", "import", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.mark.parametrize("kind", KINDS)
def test_list_says_what_is_there_and_what_is_missing(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make: Any = getattr(releases, "phoenix_csv" if kind == "phoenix14t" else kind)
    root = make(tmp_path)
    if kind == "phoenix14t":
        releases.phoenix_frames(root)
    if kind == "autsl":
        next((root / "train").glob("*_color.mp4")).unlink()
    name = kind.replace("_", "-")
    code, said, err = run(capsys, name, root, "--list")
    assert code == 0, err
    adapter = importlib.import_module(f"signatlas.corpus.sources.{kind}")
    listing = adapter.read(root)
    assert listing.missing and sum(line.startswith("missing ") for line in said.splitlines()) == len(listing.missing)
    assert said.splitlines()[-1].startswith(f"{name}: {len(listing)} recordings, {len(listing.missing)} missing; ")
    code, said, _ = run(capsys, name, root, "--list", "--json")
    told = json.loads(said)
    assert [item["id"] for item in told["items"]] == [item.id for item in listing]
    assert [gone["id"] for gone in told["missing"]] == [gone.id for gone in listing.missing]
    code, _, err = run(capsys, name, root)
    assert code == 2 and "no --out" in err
    code, _, err = run(capsys, name, tmp_path / "none", "--list")
    assert code == 2 and err.count("\n") == 1 and adapter.RELEASE.url in err


def test_the_help_says_where_each_is_to_be_had(capsys: pytest.CaptureFixture[str]) -> None:
    code, page, _ = run(capsys, "--help")
    assert code == 0
    for kind in KINDS:
        release = importlib.import_module(f"signatlas.corpus.sources.{kind}").RELEASE
        line = next(line for line in page.splitlines() if line.split()[:1] == [release.name])
        assert release.title in line and release.url in line
    corpus = COMMANDS["corpus"]
    assert isinstance(corpus, dict) and not isinstance(corpus["import"], Entry)


@pytest.fixture
def phoenix(tmp_path: Path, mirror: Path | None) -> Path:
    """A release of our own words; sun-1 is a real person signing, fog-1 and dew-1 are pictures of nobody."""
    root = releases.phoenix_frames(releases.phoenix_csv(tmp_path / "release"))
    if mirror is not None and (mirror / "video").is_dir():
        import itertools

        from PIL import Image

        from signatlas.pose.video import frames

        folder = root / "features" / "fullFrame-210x260px" / "train" / "sun-1"
        shutil.rmtree(folder)
        folder.mkdir()
        video = frames(mirror / "video" / "posefmt_test_video.mp4", span=(10, 22))
        for number, picture in enumerate(itertools.islice(video, 12), start=1):
            Image.fromarray(picture).save(folder / f"images{number:04d}.png")
    return root


@pytest.mark.slow
def test_from_the_authors_files_to_a_corpus(
    phoenix: Path, tmp_path: Path, mirror: Path | None, ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "corpus"
    code, said, err = run(capsys, "phoenix14t", phoenix, "--out", out, "--workers", 1, "--json")
    if mirror is None or not (mirror / "video").is_dir():
        assert code == 2 and "not one of 3 recordings can be used" in err
        return
    assert code == 1, err
    told = json.loads(said)
    assert told["clips"] == 1 and [gone["id"] for gone in told["missing"]] == ["phoenix14t/train/sun-2"]
    assert {q["id"] for q in told["quarantine"]} == {"phoenix14t/dev/fog-1", "phoenix14t/test/dew-1"}
    assert all("not one hand was found" in q["reason"] for q in told["quarantine"])
    corpus = Corpus.open(out, verify=True)
    (clip,) = corpus
    assert (clip.id, clip.split, clip.signer, clip.sign_language) == (
        "phoenix14t/train/sun-1", "train", "Signer01", "gsg",
    )  # fmt: skip
    assert (clip.num_frames, clip.fps, clip.width, clip.height) == (12, 25.0, 210, 300)
    assert clip.glosses == ("SONNE", "ABER", "KALT") and clip.texts == (("de", "die sonne lacht aber es ist kalt"),)
    assert corpus.info.license.startswith("CC BY-NC-SA") and corpus.info.made["splits"] == "the authors'"
    assert corpus.info.made["command"] == "signatlas corpus import phoenix14t"
    assert examine(corpus) == [] and len(completeness.notes(corpus)) == 2
    code, _, err = run(capsys, "phoenix14t", phoenix, "--out", out)
    assert code == 2 and "exists already" in err
