"""Tiny corpora in the layouts of their authors, with made-up words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def write_video(path: Path, frames: int = 6, *, fps: int = 25, size: tuple[int, int] = (64, 48)) -> Path:
    """A video of a bright square that wanders: readable, and nobody in it."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(frames):
            picture = np.zeros((size[1], size[0], 3), np.uint8)
            picture[8:24, 2 * number : 2 * number + 16] = 255
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def write_pictures(folder: Path, name: str, frames: int = 3, *, first: int = 1) -> Path:
    """Small frame pictures; ``name`` is a pattern such as images{:04d}.png."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + frames):
        Image.new("RGB", (21, 26), (number % 256, 0, 0)).save(folder / name.format(number))
    return folder


PHOENIX = {
    "train": [("sun-1", "Signer01", "SONNE ABER KALT", "die sonne lacht aber es ist kalt"),
              ("sun-2", "Signer02", "MORGEN NEBEL", 'morgen "dichter nebel')],
    "dev": [("fog-1", "Signer01", "NEBEL", "nebel")],
    "test": [("dew-1", "Signer03", "", "tau ohne gebärde")],
}  # fmt: skip


def phoenix_csv(root: Path) -> Path:
    """The authors' annotations."""
    manual = root / "annotations" / "manual"
    manual.mkdir(parents=True, exist_ok=True)
    for split, rows in PHOENIX.items():
        lines = ["name|video|start|end|speaker|orth|translation"]
        lines += [f"{name}|{name}/1/*.png|-1|-1|{who}|{glosses}|{text}" for name, who, glosses, text in rows]
        (manual / f"PHOENIX-2014-T.{split}.corpus.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def phoenix_jsonl(root: Path) -> Path:
    """The same as the converted edition has it, with English."""
    root.mkdir(parents=True, exist_ok=True)
    for split, rows in PHOENIX.items():
        lines = [
            json.dumps({"name": f"{split}/{name}", "gloss": glosses.split(), "num_frames": 10 + number,
                        "text": {"de": text, "en": f"english of {name}"}}, ensure_ascii=False)
            for number, (name, _, glosses, text) in enumerate(rows)
        ]  # fmt: skip
        (root / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def phoenix_frames(root: Path) -> Path:
    """Frames of all but sun-2, whose folder is empty."""
    features = root / "features" / "fullFrame-210x260px"
    for split, rows in PHOENIX.items():
        for name, *_ in rows:
            if name == "sun-2":
                (features / split / name).mkdir(parents=True)
            else:
                write_pictures(features / split / name, "images{:04d}.png")
    return root
