"""Tiny releases in the layouts of their authors, with invented words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def write_video(path: Path, frames: int = 6, *, fps: int = 25, size: tuple[int, int] = (64, 48)) -> Path:
    """Write a readable video of a moving bright square, without a person."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(frames):
            image = np.zeros((size[1], size[0], 3), np.uint8)
            image[8:24, 2 * number : 2 * number + 16] = 255
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def write_images(folder: Path, name: str, frames: int = 3, *, first: int = 1) -> Path:
    """Write small frame images; ``name`` is a pattern such as images{:04d}.png."""
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
    """Write the annotations in the CSV layout of the authors."""
    manual = root / "annotations" / "manual"
    manual.mkdir(parents=True, exist_ok=True)
    for split, rows in PHOENIX.items():
        lines = ["name|video|start|end|speaker|orth|translation"]
        lines += [f"{name}|{name}/1/*.png|-1|-1|{signer}|{glosses}|{text}" for name, signer, glosses, text in rows]
        (manual / f"PHOENIX-2014-T.{split}.corpus.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def phoenix_jsonl(root: Path) -> Path:
    """Write the same annotations in the converted JSONL edition, with English texts."""
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
    """Write frames of all sentences but sun-2, whose folder is empty."""
    features = root / "features" / "fullFrame-210x260px"
    for split, rows in PHOENIX.items():
        for name, *_ in rows:
            if name == "sun-2":
                (features / split / name).mkdir(parents=True)
            else:
                write_images(features / split / name, "images{:04d}.png")
    return root


def wlasl(root: Path) -> Path:
    """Write three glosses: two cut videos, a dead link, an uncut YouTube video, and one without a signer."""
    youtube = "https://www.youtube.com/watch?v=abcdefghijk"

    def instance(video: str, split: str, first: int, last: int, url: str, signer: int) -> dict[str, object]:
        return {"bbox": [4, 2, 60, 46], "fps": 25, "frame_end": last, "frame_start": first, "instance_id": 0,
                "signer_id": signer, "source": "made", "split": split, "url": url, "variation_id": 0,
                "video_id": video}  # fmt: skip

    entries = [
        {"gloss": "tea", "instances": [instance("00001", "train", 1, -1, "http://made.example/tea.mp4", 3),
                                       instance("00002", "val", 11, 20, youtube, 4)]},
        {"gloss": "milk", "instances": [instance("00003", "test", 1, -1, "http://gone.example/milk.swf", 5),
                                        instance("00004", "train", 3, 7, "http://made.example/two.mp4", -1)]},
        {"gloss": "cup", "instances": [instance("00005", "train", 26, 50, youtube, 4)]},
    ]  # fmt: skip
    root.mkdir(parents=True, exist_ok=True)
    (root / "WLASL_v0.3.json").write_text(json.dumps(entries), encoding="utf-8")
    for video in ("00001", "00002", "00004"):
        write_video(root / "videos" / f"{video}.mp4")
    write_video(root / "raw_videos" / "abcdefghijk.mkv")
    return root


def autsl(root: Path, signers: int = 4, samples: int = 3) -> Path:
    """Write three signs: every signer performs the first two several times, one signer alone the third."""
    root.mkdir(parents=True, exist_ok=True)
    signs = ["ClassId,TR,EN", "0,sabah_kahvesi,morning coffee", "1,süt,milk", '2,süt,"milk, old"']
    (root / "SignList_ClassId_TR_EN.csv").write_text("\n".join(signs) + "\n", encoding="utf-8-sig")
    lines: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for signer in range(signers):
        name = ("train", "validation", "test")[min(signer, 2)]
        folder = {"validation": "val"}.get(name, name)
        for sample in range(samples * 2 + (signer == 0) * 5):
            stem = f"signer{signer}_sample{sample}"
            lines[name].append(f"{stem},{sample % 2 if sample < samples * 2 else 2}")
            (root / folder).mkdir(exist_ok=True)
            (root / folder / f"{stem}_color.mp4").write_bytes(b"video")
            (root / folder / f"{stem}_depth.mp4").write_bytes(b"depth")
    for name, rows in lines.items():
        (root / f"{name}_labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def csl_daily(root: Path) -> Path:
    """Write four labeled sentences, one without frames and one without a split, and a split without a label."""
    labels = root / "sentence_label"
    labels.mkdir(parents=True)
    (labels / "split_1.txt").write_text(
        "name|split\nS000001_P0000_T00|train\nS000002_P0003_T00|dev\nS000003_P0000_T00|test\nS000009_P0001_T00|test\n",
        encoding="utf-8",
    )
    lines = [
        "index|name|length|gloss|char|word|postag",
        "0|S000001_P0000_T00|3|我 茶 喝|我 喝 茶 。|我 喝 茶 。|r v n w",
        "1|S000002_P0003_T00|4|杯子 白|杯 子 是 白 的|杯子 是 白 的|n v a u",
        "2|S000003_P0000_T00|5|茶 热|茶 热|茶 热|n a",
        "3|S000004_P0000_T00|5|茶|茶|茶|n",
    ]
    (labels / "video_map.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_images(root / "sentence" / "frames_512x512" / "S000001_P0000_T00", "{:06d}.jpg", first=0)
    write_images(root / "sentence" / "frames_512x512" / "S000002_P0003_T00", "{:06d}.jpg", 4, first=0)
    return root


def how2sign(root: Path) -> Path:
    """Write a sentence with its clip, one to cut from a recording, one with invalid times, and one without video."""
    header = "VIDEO_ID\tVIDEO_NAME\tSENTENCE_ID\tSENTENCE_NAME\tSTART_REALIGNED\tEND_REALIGNED\tSENTENCE"
    rows = {
        "train": ['-a\t-a-5-rgb_front\t-a_0\t-a_0-5-rgb_front\t1.5\t3.25\t"He said ""tea"" twice."',
                  "-a\t-a-5-rgb_front\t-a_1\t-a_1-5-rgb_front\t3.25\t4.0\tPour it in the cup\"."],
        "val": ["b-c\tb-c-11-rgb_front\tb-c_0\tb-c_0-11-rgb_front\t7\t7\tNothing."],
        "test": ["d\td-2-rgb_front\td_0\td_0-2-rgb_front\t0\t2\tGone."],
    }  # fmt: skip
    root.mkdir(parents=True, exist_ok=True)
    for split, lines in rows.items():
        content = "\n".join([header, *lines]) + "\n"
        (root / f"how2sign_realigned_{split}.csv").write_text(content, encoding="utf-8")
    write_video(root / "sentence_level" / "train" / "rgb_front" / "raw_videos" / "-a_0-5-rgb_front.mp4")
    write_video(root / "video_level" / "train" / "rgb_front" / "raw_videos" / "-a-5-rgb_front.mp4")
    write_video(root / "val" / "raw_videos" / "b-c-11-rgb_front.mp4")
    return root
