"""RWTH-PHOENIX-Weather 2014 T: weather forecasts in German Sign Language, with glosses and German sentences.

As its authors ship it: `annotations/manual/PHOENIX-2014-T.SPLIT.corpus.csv` (columns name|video|start|end|speaker|orth|
translation) and frames `features/fullFrame-210x260px/SPLIT/NAME/images0001.png`, 25 a second. The pictures are stored
squeezed: their true proportions are 210 x 300, as users of the corpus stretch them (no document of the authors that
says so was at hand). Also read: SPLIT.jsonl with name, gloss, text by language and
num_frames, an edition of the annotations that others converted, and videos SPLIT/NAME.mp4 in place of frames.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from signatlas.corpus.clips import SPLITS
from signatlas.corpus.sentences import Sentence
from signatlas.corpus.sources.base import Item, Listing, Missing, Release, lines, pictures, table, videos_in
from signatlas.errors import CorpusError

RELEASE = Release(
    name="phoenix14t",
    title="RWTH-PHOENIX-Weather 2014 T",
    version="release-v3",
    sign_language="gsg",
    license="CC BY-NC-SA 3.0: research, non-commercial, share alike; cite Camgöz et al., CVPR 2018",
    url="https://www-i6.informatik.rwth-aachen.de/~koller/RWTH-PHOENIX-2014-T/",
    layout="annotations/manual/PHOENIX-2014-T.{train,dev,test}.corpus.csv and features/fullFrame-210x260px/",
)
FRAMES = "fullFrame-210x260px"
FPS = 25.0
PROPORTIONS = (210, 300)


class _Row(NamedTuple):
    name: str
    sentence: Sentence
    signer: str | None


def annotations(path: Path) -> list[Sentence]:
    """Every sentence of the three splits, from the authors' CSV or from JSONL, in the order of the files.

    A sentence without a gloss is kept, with no glosses. Raises CorpusError when a split is missing or a line is not
    of the form.
    """
    return [row.sentence for row in _rows(path)]


def read(path: Path) -> Listing:
    """The recordings of a release: a folder of frames or a video for each sentence; the signer is the speaker.

    Raises CorpusError when annotations or every frame are missing; single recordings are listed as missing.
    """
    rows = list(_rows(path))
    features = _features(path)
    videos = {split: videos_in(features / split) for split in SPLITS}
    items, missing = [], []
    for row in rows:
        said = row.sentence
        media, numbered = _media(features / said.split, row.name, videos[said.split])
        if media is None:
            missing.append(Missing(said.id, f"no frames and no video at {features / said.split / row.name}"))
            continue
        items.append(
            Item(
                id=said.id,
                media=str(media),
                sign_language=RELEASE.sign_language,
                source=RELEASE.name,
                split=said.split,
                signer=row.signer,
                glosses=said.glosses,
                texts=said.texts,
                frames=said.frames or numbered,
                fps=FPS,
                shown_as=PROPORTIONS if FRAMES in features.parts else None,
            )
        )
    return RELEASE.listing(items, missing, path)


def _features(path: Path) -> Path:
    """The folder with the frames or videos of each split."""
    for marker in (f"features/{FRAMES}", FRAMES, "features", "videos"):
        try:
            return RELEASE.root(path, marker) / marker
        except CorpusError:
            continue
    raise RELEASE.refuse(f"{path} has annotations but no recordings: features/{FRAMES} is missing")


def _media(folder: Path, name: str, videos: dict[str, Path]) -> tuple[Path | None, int | None]:
    """The frames of one sentence, in the folder of its name or in its "1" (the column `video`), or its video.

    And how many frames the numbers of the pictures announce.
    """
    for frames in (folder / name, folder / name / "1"):
        if number := pictures(frames):
            return frames, number
    return videos.get(name), None


def _rows(path: Path) -> Iterator[_Row]:
    """The authors' CSV knows the speaker, JSONL the length and further languages: what is there is joined."""
    if not path.is_dir():
        raise RELEASE.refuse(f"no folder at {path}")
    authors = {split: _find(path, f"annotations/manual/{_csv(split)}", _csv(split)) for split in SPLITS}
    converted = {split: _find(path, f"{split}.jsonl") for split in SPLITS}
    absent = [_csv(split) for split in SPLITS if not authors[split] and not converted[split]]
    if absent:
        raise RELEASE.refuse(f"{path} has no {' and no '.join(absent)}")
    for split in SPLITS:
        file, other = authors[split], converted[split]
        known = {row.name: row for row in _from_jsonl(other, split)} if other else {}
        yield from (_joined(row, known.get(row.name)) for row in _from_csv(file, split)) if file else known.values()


def _csv(split: str) -> str:
    return f"PHOENIX-2014-T.{split}.corpus.csv"


def _find(path: Path, *markers: str) -> Path | None:
    """The first of ``markers`` in the folder, or one or two levels below as the archive is packed."""
    folders = (path, *sorted(path.glob("*/")), *sorted(path.glob("PHOENIX*/PHOENIX*/")))
    return next((f / marker for marker in markers for f in folders if (f / marker).is_file()), None)


def _joined(row: _Row, other: _Row | None) -> _Row:
    if other is None:
        return row
    known = {language for language, _ in row.sentence.texts}
    more = tuple(text for text in other.sentence.texts if text[0] not in known)
    return row._replace(sentence=replace(row.sentence, texts=row.sentence.texts + more, frames=other.sentence.frames))


def _from_csv(file: Path, split: str) -> Iterator[_Row]:
    for where, row in table(file, "|"):
        glosses = row.get("orth", row.get("orthography"))
        if "name" not in row or glosses is None or "translation" not in row:
            raise RELEASE.refuse(f"{where}: columns {', '.join(row)}, expected name, speaker, orth and translation")
        said = Sentence(
            id=f"{RELEASE.name}/{split}/{row['name']}",
            split=split,
            glosses=tuple(glosses.split()),
            texts=(("de", row["translation"].strip()),),
        )
        yield _Row(row["name"], said, row.get("speaker") or None)


def _from_jsonl(file: Path, split: str) -> Iterator[_Row]:
    for where, line in lines(file):
        try:
            row = json.loads(line)
            name = _text(row["name"]).removeprefix(f"{split}/")
            if not isinstance(row["gloss"], list):
                raise TypeError("gloss is no list")
            said = Sentence(
                id=f"{RELEASE.name}/{split}/{name}",
                split=split,
                glosses=tuple(_text(gloss) for gloss in row["gloss"]),
                texts=tuple((str(tag), _text(text).strip()) for tag, text in row["text"].items()),
                frames=int(row["num_frames"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RELEASE.refuse(f"{where} is not of the form name, gloss, text, num_frames ({error!r})") from error
        yield _Row(name, said, None)


def _text(value: Any) -> str:
    if not isinstance(value, str | int | float):
        raise TypeError(f"{type(value).__name__} in place of text")
    return str(value)
