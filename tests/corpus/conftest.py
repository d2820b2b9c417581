"""Small corpora in the layouts of their authors."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from signatlas.corpus.format import Clip, CorpusInfo

README = """# SignLanguageRecognition
| German | English
| --- | --- |
[Fußball](https://signdict.org/entry/251) | Soccer
[essen](https://signdict.org/entry/1553) | (to) eat
"""


def dgs_csv(frames: int, dims: int, rng: np.random.Generator) -> str:
    """A CSV in the layout of the authors: one or two hands per row, right of and left of the face."""
    axes = "xyz"[:dims]
    names = ["face_x", "face_y"] + [f"landmark_{a}_{i}" for i in range(1, 43) for a in axes]
    lines = [";".join(names)]
    for frame in range(frames):
        values = [0.5, 0.3, *rng.uniform(0.2, 0.4, 21 * dims)]
        if frame % 2:
            values += list(rng.uniform(0.6, 0.8, 21 * dims))
        lines.append(";".join(f"{v:.6g}" for v in values))
    return "\n".join(lines) + "\n"


def dgs_files() -> dict[str, bytes]:
    """Contents by path below the repository: 2 webcam words with 10 and 12 recordings, 5 dictionary entries."""
    rng = np.random.default_rng(0)
    files = {"README.md": README.encode(), "lab/data/README.md": b"# Description", "src/run.py": b"pass"}
    for word, number in (("Fußball", 10), ("essen", 12)):
        for i in range(number):
            files[f"lab/data/absolute/3D_full/{word}/{word[0]}{i:03d}.csv"] = dgs_csv(5 + i, 3, rng).encode()
    duplicate = "lab/data/absolute/3D_full/essen/e000.csv"
    files["lab/data/absolute/3D_full/essen/copy.csv"] = files[duplicate]
    for word in ("Fussball", "Mücke", "Muecke", "16\uf0229", "Golden_Goal"):
        files[f"lab/data/absolute/2D_unknown/unknown/{word}.csv"] = dgs_csv(6, 2, rng).encode()
    files["lab/data/absolute/2D/essen/other.csv"] = b"not needed"
    return files


@pytest.fixture
def dgs_zip(tmp_path: Path) -> Path:
    target = tmp_path / "mirror" / "archive.zip"
    target.parent.mkdir()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in dgs_files().items():
            packed.writestr(f"SignLanguageRecognition-d6358d5/{name}", content)
    return target


@pytest.fixture
def dgs_folder(tmp_path: Path) -> Path:
    for name, content in dgs_files().items():
        file = tmp_path / "checkouts" / "SignLanguageRecognition" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tmp_path / "checkouts"


INFO = CorpusInfo("small", "1", "Apache-2.0", "made in a test", ("ase",))


def make_clips(number: int = 12) -> list[Clip]:
    """Clips of different lengths with missing points, and values in every column."""
    clips = []
    for i in range(number):
        rng = np.random.default_rng(i)
        poses = rng.normal(size=(3 + i, 75, 3)).astype(np.float32)
        poses[rng.random(poses.shape[:2]) < 0.2] = np.nan
        poses[:, :5, 2] = np.nan
        clips.append(
            Clip(
                id=f"small/{i:02d}",
                split=("train", "dev", "test")[i % 3],
                poses=poses,
                sign_language="ase",
                source="test",
                signer=None if i % 2 else f"s{i}",
                gloss=f"g{i % 4}",
                glosses=("a", "b") if i % 3 == 0 else None,
                gloss_spans=((0, 2), (2, 3)) if i % 3 == 0 else None,
                exemplars=("x/1", "x/2") if i % 3 == 0 else None,
                texts=(("en", "hello"), ("de", "grüß Gott")) if i % 2 else (),
                fps=29.97 if i % 2 else None,
                width=640,
                height=480,
                visibility=rng.random(poses.shape[:2]).astype(np.float16) if i % 2 else None,
            )
        )
    return clips
