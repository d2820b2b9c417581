"""CSL-Daily: sentences of daily life in Chinese Sign Language by ten signers, with glosses, characters and words.

As its authors ship it: `sentence_label/split_1.txt` (name|split), `sentence_label/video_map.txt` (index|name|length|
gloss|char|word|postag, each a list separated by spaces) and the frames, a folder of pictures a sentence. The labels
also come as a pickle, which is not read: a pickle can run any program. The signer is the P in the name
S000001_P0004_T00. Names of the frame folder differ between editions; that of the archives, 30 frames a second and the
signer's part of the name are known from programs of others that read the corpus, not from a document of the authors.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from signatlas.corpus.clips import SPLITS
from signatlas.corpus.sentences import Sentence
from signatlas.corpus.sources.base import Item, Listing, Missing, Release, pictures, table, videos_in, whole_number

RELEASE = Release(
    name="csl-daily",
    title="CSL-Daily",
    version="v2",
    sign_language="csl",
    license="research only, on signing the authors' agreement; cite Zhou et al., CVPR 2021",
    url="http://home.ustc.edu.cn/~zhouh156/dataset/csl-daily/",
    layout="sentence_label/split_1.txt, sentence_label/video_map.txt and sentence/frames_512x512/",
)
LABELS, DIVISION = "video_map.txt", "split_1.txt"
COLUMNS = ("name", "length", "gloss", "char", "word")
FRAMES = (
    "sentence/frames_512x512", "sentence_frames-512x512/frames_512x512", "sentence_frames-512x512_jpegs",
    "sentence_frames-512x512", "frames_512x512", "sentence", "sentence-crop", "videos",
)  # fmt: skip
FPS = 30.0


class Row(NamedTuple):
    """A sentence, its signer, and its text cut into characters and into words (with their parts of speech)."""

    name: str
    sentence: Sentence
    signer: str | None
    characters: tuple[str, ...]
    words: tuple[str, ...]
    tags: tuple[str, ...]


def annotations(path: Path) -> list[Sentence]:
    """The sentences that have labels and a split, in the order of the labels; the text is that of the characters."""
    return [row.sentence for row in rows(path)]


def rows(path: Path) -> list[Row]:
    """The same with signer, characters and words. Raises CorpusError when a file is missing or a line is wrong."""
    return [row for row in _rows(path) if isinstance(row, Row)]


def read(path: Path) -> Listing:
    """The recordings: a folder of frames or a video for each sentence.

    Names in one of the two files alone are listed as missing. Raises CorpusError when labels or every recording are
    missing.
    """
    root = _root(path)
    found = list(_rows(path))
    folders = [root / name for name in FRAMES if (root / name).is_dir()]
    if not folders:
        raise RELEASE.refuse(f"{root} has labels but no recordings: {FRAMES[0]} is missing")
    videos = {stem: video for folder in reversed(folders) for stem, video in videos_in(folder).items()}
    items, missing = [], []
    for row in found:
        if isinstance(row, Missing):
            missing.append(row)
            continue
        frames = next((folder / row.name for folder in folders if pictures(folder / row.name)), None)
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


def _root(path: Path) -> Path:
    """The folder in which `sentence_label` is; a folder that holds the two files itself will do."""
    if (path / LABELS).is_file() or (path / DIVISION).is_file():
        return path
    return RELEASE.root(path, "sentence_label")


def _rows(path: Path) -> Iterator[Row | Missing]:
    root = _root(path)
    labels = root / "sentence_label" if (root / "sentence_label").is_dir() else root
    if not (labels / LABELS).is_file() and any(labels.glob("*.pkl")):
        raise RELEASE.refuse(f"{labels} has the labels only as a pickle, which is not read: {LABELS} is missing")
    splits = dict(_splits(RELEASE.need(labels / DIVISION)))
    for where, row in table(RELEASE.need(labels / LABELS), "|"):
        if not set(COLUMNS) <= row.keys():
            raise RELEASE.refuse(f"{where}: columns {', '.join(row)}, expected {', '.join(COLUMNS)}")
        split = splits.pop(row["name"], None)
        if split is None:
            yield Missing(f"{RELEASE.name}/{row['name']}", f"has no split in {DIVISION}")
            continue
        yield _row(where, row, split)
    for name, split in splits.items():
        yield Missing(f"{RELEASE.name}/{split}/{name}", f"is in {DIVISION} but has no line in {LABELS}")


def _splits(file: Path) -> Iterator[tuple[str, str]]:
    for where, row in table(file, "|"):
        if row.get("split") not in SPLITS or "name" not in row:
            raise RELEASE.refuse(f"{where}: expected name|split with one of {', '.join(SPLITS)}")
        yield row["name"], row["split"]


def _row(where: str, row: dict[str, str], split: str) -> Row:
    characters = tuple(row["char"].split())
    parts = row["name"].split("_")
    signer = parts[1] if len(parts) == 3 and parts[1].startswith("P") else None
    sentence = Sentence(
        id=f"{RELEASE.name}/{split}/{row['name']}",
        split=split,
        glosses=tuple(row["gloss"].split()),
        texts=(("zh", "".join(characters)),),
        frames=whole_number(where, row, "length"),
    )
    words, tags = tuple(row["word"].split()), tuple(row.get("postag", "").split())
    return Row(row["name"], sentence, signer, characters, words, tags)
