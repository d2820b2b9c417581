"""How2Sign: instructional videos in American Sign Language with English sentences, re-aligned to the signing.

The release: `how2sign_realigned_{train,val,test}.csv` (separated by tabs: VIDEO_ID, VIDEO_NAME, SENTENCE_ID,
SENTENCE_NAME, START_REALIGNED, END_REALIGNED, SENTENCE; seconds) and the front view, either as clips
SENTENCE_NAME.mp4 or as whole recordings VIDEO_NAME.mp4, which are cut into sentences here. The number before the view
in VIDEO_NAME (abc-5-rgb_front) is used as the signer, as other programs do; the authors do not document it.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from signatlas.corpus.sources.base import Item, Listing, Missing, Release, find_videos, read_table

RELEASE = Release(
    name="how2sign",
    title="How2Sign",
    version="re-aligned",
    sign_language="ase",
    license="CC BY-NC 4.0: non-commercial; cite Duarte et al., CVPR 2021",
    url="https://how2sign.github.io/",
    layout="how2sign_realigned_{train,val,test}.csv and the front view, clips or whole recordings, in raw_videos/",
)
SPLITS = {"train": "train", "val": "dev", "test": "test"}
COLUMNS = ("VIDEO_NAME", "SENTENCE_NAME", "START_REALIGNED", "END_REALIGNED", "SENTENCE")
TABLES = ("{file}", "{split}/{file}", "sentence_level/{split}/text/en/raw_text/re_aligned/{file}")
FOLDERS = (
    "sentence_level/{split}/rgb_front/raw_videos", "{split}_rgb_front_clips/raw_videos", "{split}/raw_videos",
    "video_level/{split}/rgb_front/raw_videos", "{split}_raw_videos/raw_videos", "{split}_rgb_front/raw_videos",
    "{split}", "raw_videos",
)  # fmt: skip
SIGNER = re.compile(r"-(\d+)-rgb_front$")


def read(path: Path) -> Listing:
    """Return the sentences of a release, as clips or, without a clip, as spans of the whole recording.

    Sentences without a video, and those to cut whose end is not after their start, are listed as missing. Raises
    CorpusError when a table or every video is missing.
    """
    if not path.is_dir():
        raise RELEASE.error(f"no folder at {path}")
    items, missing = [], []
    for name, split in SPLITS.items():
        videos: dict[str, Path] = {}
        for folder in FOLDERS:
            videos = find_videos(path / folder.format(split=name)) | videos
        for location, row in read_table(_read_split(path, name), "\t"):
            item = _parse_item(location, row, split, videos)
            if isinstance(item, Item):
                items.append(item)
            else:
                missing.append(item)
    return RELEASE.listing(items, missing, path)


def _read_split(path: Path, split: str) -> Path:
    file = f"how2sign_realigned_{split}.csv"
    for name in TABLES:
        candidate = path / name.format(file=file, split=split)
        if candidate.is_file():
            return candidate
    raise RELEASE.error(f"{path} does not contain {file}")


def _parse_item(location: str, row: dict[str, str], split: str, videos: dict[str, Path]) -> Item | Missing:
    if not set(COLUMNS) <= row.keys():
        raise RELEASE.error(f"{location}: columns {', '.join(row)}, expected {', '.join(COLUMNS)}")
    id = f"{RELEASE.name}/{split}/{row['SENTENCE_NAME']}"
    clip, recording = videos.get(row["SENTENCE_NAME"]), videos.get(row["VIDEO_NAME"])
    if clip is None and recording is None:
        return Missing(id, f"no {row['SENTENCE_NAME']}.mp4 and no {row['VIDEO_NAME']}.mp4")
    try:
        start, end = float(row["START_REALIGNED"]), float(row["END_REALIGNED"])
    except ValueError as error:
        raise RELEASE.error(f"{location}: start or end is not a number of seconds") from error
    if clip is None and not (0 <= start < end and math.isfinite(end)):
        return Missing(id, f"no clip, and its end {end:g} is not after its start {start:g}")
    signer = SIGNER.search(row["VIDEO_NAME"])
    return Item(
        id=id,
        media=str(clip or recording),
        sign_language=RELEASE.sign_language,
        source=RELEASE.name,
        split=split,
        signer=signer.group(1) if signer else None,
        texts=(("en", _unquoted(row["SENTENCE"])),),
        seconds=None if clip else (start, end),
    )


def _unquoted(text: str) -> str:
    """Return the text without the CSV quoting of texts that contain quotation marks."""
    text = text.strip()
    quoted = len(text) > 1 and text.startswith('"') and text.endswith('"') and '""' in text
    return text[1:-1].replace('""', '"') if quoted else text
