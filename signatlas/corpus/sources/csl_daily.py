"""CSL-Daily: sentences of daily life in Chinese Sign Language by ten signers, with glosses, characters and words.

The release: `sentence_label/split_1.txt` (name|split), `sentence_label/video_map.txt` (index|name|length|gloss|char|
word|postag, lists separated by spaces) and a folder of frame images per sentence. The labels are also released as a
pickle, which is not read, because unpickling can run any code. The signer is the P part of the name
S000001_P0004_T00. The name of the frame folder differs between editions. The folder in the archives, 30 frames per
second and the signer in the name follow other programs that read the corpus; the authors do not document them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from signatlas.corpus import SPLITS
from signatlas.corpus.sentences import Sentence
from signatlas.corpus.sources.base import (
    Item,
    Listing,
    Missing,
    Release,
    count_images,
    find_videos,
    parse_int,
    read_table,
)

RELEASE = Release(
    name="csl-daily",
    title="CSL-Daily",
    version="v2",
    sign_language="csl",
    license="research only, on signing the authors' agreement; cite Zhou et al., CVPR 2021",
    url="http://home.ustc.edu.cn/~zhouh156/dataset/csl-daily/",
    layout="sentence_label/split_1.txt, sentence_label/video_map.txt and sentence/frames_512x512/",
)
LABELS, SPLIT_FILE = "video_map.txt", "split_1.txt"
COLUMNS = ("name", "length", "gloss", "char", "word")
FRAMES = (
    "sentence/frames_512x512", "sentence_frames-512x512/frames_512x512", "sentence_frames-512x512_jpegs",
    "sentence_frames-512x512", "frames_512x512", "sentence", "sentence-crop", "videos",
)  # fmt: skip
FPS = 30.0


class Row(NamedTuple):
    """A sentence, its signer, and its text as characters and as words with their part-of-speech tags."""

    name: str
    sentence: Sentence
    signer: str | None
    characters: tuple[str, ...]
    words: tuple[str, ...]
    tags: tuple[str, ...]


def read_sentences(path: Path) -> list[Sentence]:
    """Return the sentences with labels and a split, in the order of the labels; texts are the joined characters."""
    return [row.sentence for row in rows(path)]


def rows(path: Path) -> list[Row]:
    """Return the rows of :func:`read_sentences`. Raises CorpusError for a missing file or an invalid line."""
    return [row for row in _read_rows(path) if isinstance(row, Row)]


def read(path: Path) -> Listing:
    """Return the recordings, a folder of frames or a video per sentence.

    Names that only one of the two label files has are listed as missing. Raises CorpusError when the labels or every
    recording are missing.
    """
    root = _find_root(path)
    folders = [root / name for name in FRAMES if (root / name).is_dir()]
    if not folders:
        raise RELEASE.error(f"{root} has labels, but no recordings: {FRAMES[0]} is missing")
    videos = {stem: video for folder in reversed(folders) for stem, video in find_videos(folder).items()}
    items, missing = [], []
    for row in _read_rows(path):
        if isinstance(row, Missing):
            missing.append(row)
            continue
        frames = next((folder / row.name for folder in folders if count_images(folder / row.name)), None)
        media = frames or videos.get(row.name)
        if media is None:
            missing.append(Missing(row.sentence.id, f"no frames and no video {row.name} in {folders[0]}"))
            continue
        items.append(
            Item(
                id=row.sentence.id,
                media=str(media),
                sign_language=RELEASE.sign_language,
                source=RELEASE.name,
                split=row.sentence.split,
                signer=row.signer,
                glosses=row.sentence.glosses,
                texts=row.sentence.texts,
                frames=row.sentence.frames,
                fps=FPS if frames else None,
            )
        )
    return RELEASE.listing(items, missing, root)


def _find_root(path: Path) -> Path:
    """Return the folder that contains `sentence_label`, or the two label files."""
    if (path / LABELS).is_file() or (path / SPLIT_FILE).is_file():
        return path
    return RELEASE.root(path, "sentence_label")


def _read_rows(path: Path) -> Iterator[Row | Missing]:
    root = _find_root(path)
    labels = root / "sentence_label" if (root / "sentence_label").is_dir() else root
    if not (labels / LABELS).is_file() and any(labels.glob("*.pkl")):
        raise RELEASE.error(f"{labels} has labels only as a pickle, which signatlas does not read: {LABELS} is missing")
    splits = dict(_read_splits(RELEASE.require(labels / SPLIT_FILE)))
    for location, row in read_table(RELEASE.require(labels / LABELS), "|"):
        if not set(COLUMNS) <= row.keys():
            raise RELEASE.error(f"{location}: columns {', '.join(row)}, expected {', '.join(COLUMNS)}")
        split = splits.pop(row["name"], None)
        if split is None:
            yield Missing(f"{RELEASE.name}/{row['name']}", f"no split in {SPLIT_FILE}")
            continue
        yield _parse_row(location, row, split)
    for name, split in splits.items():
        yield Missing(f"{RELEASE.name}/{split}/{name}", f"in {SPLIT_FILE}, but not in {LABELS}")


def _read_splits(file: Path) -> Iterator[tuple[str, str]]:
    for location, row in read_table(file, "|"):
        if row.get("split") not in SPLITS or "name" not in row:
            raise RELEASE.error(f"{location}: expected name|split with one of {', '.join(SPLITS)}")
        yield row["name"], row["split"]


def _parse_row(location: str, row: dict[str, str], split: str) -> Row:
    characters = tuple(row["char"].split())
    parts = row["name"].split("_")
    signer = parts[1] if len(parts) == 3 and parts[1].startswith("P") else None
    sentence = Sentence(
        id=f"{RELEASE.name}/{split}/{row['name']}",
        split=split,
        glosses=tuple(row["gloss"].split()),
        texts=(("zh", "".join(characters)),),
        frames=parse_int(location, row, "length"),
    )
    words, tags = tuple(row["word"].split()), tuple(row.get("postag", "").split())
    return Row(row["name"], sentence, signer, characters, words, tags)
