"""RWTH-PHOENIX-Weather 2014 T: weather forecasts in German Sign Language, with glosses and German sentences.

The release: `annotations/manual/PHOENIX-2014-T.SPLIT.corpus.csv` (columns name|video|start|end|speaker|orth|
translation) and frames `features/fullFrame-210x260px/SPLIT/NAME/images0001.png`, 25 per second. The images are stored
squeezed; their true proportions are 210 x 300, as other programs stretch them (the authors do not
document it). Two other editions are read too: annotations converted to SPLIT.jsonl with name, gloss, text by
language and num_frames, and videos SPLIT/NAME.mp4 instead of frames.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from signatlas.corpus import SPLITS
from signatlas.corpus.sentences import Sentence
from signatlas.corpus.sources.base import (
    Item,
    Listing,
    Missing,
    Release,
    count_images,
    find_videos,
    read_lines,
    read_table,
)
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


def read_sentences(path: Path) -> list[Sentence]:
    """Return the sentences of the three splits, from CSV or JSONL, in the order of the files.

    Sentences without a gloss are kept, with empty glosses. Raises CorpusError for a missing split or an invalid line.
    """
    return [row.sentence for row in _read_rows(path)]


def read(path: Path) -> Listing:
    """Return the recordings of a release, a folder of frames or a video per sentence; the signer is the speaker.

    Recordings without frames or video are listed as missing. Raises CorpusError when the annotations or all frames are
    missing.
    """
    rows = list(_read_rows(path))
    features = _features(path)
    videos = {split: find_videos(features / split) for split in SPLITS}
    items, missing = [], []
    for row in rows:
        sentence = row.sentence
        media, num_images = _find_media(features / sentence.split, row.name, videos[sentence.split])
        if media is None:
            missing.append(Missing(sentence.id, f"no frames and no video at {features / sentence.split / row.name}"))
            continue
        items.append(
            Item(
                id=sentence.id,
                media=str(media),
                sign_language=RELEASE.sign_language,
                source=RELEASE.name,
                split=sentence.split,
                signer=row.signer,
                glosses=sentence.glosses,
                texts=sentence.texts,
                frames=sentence.frames or num_images,
                fps=FPS,
                shown_as=PROPORTIONS if FRAMES in features.parts else None,
            )
        )
    return RELEASE.listing(items, missing, path)


def _features(path: Path) -> Path:
    """Return the folder with the frames or videos of each split."""
    for marker in (f"features/{FRAMES}", FRAMES, "features", "videos"):
        try:
            return RELEASE.root(path, marker) / marker
        except CorpusError:
            continue
    raise RELEASE.error(f"{path} has annotations, but no recordings: features/{FRAMES} is missing")


def _find_media(folder: Path, name: str, videos: dict[str, Path]) -> tuple[Path | None, int | None]:
    """Return the frame folder of a sentence, NAME or NAME/1 as in `video`, and its number of images; or its video."""
    for frames in (folder / name, folder / name / "1"):
        if number := count_images(frames):
            return frames, number
    return videos.get(name), None


def _read_rows(path: Path) -> Iterator[_Row]:
    """Yield the rows of all splits, joined from CSV (with speakers) and JSONL (with lengths and more languages)."""
    if not path.is_dir():
        raise RELEASE.error(f"no folder at {path}")
    csv_files = {split: _find_root(path, f"annotations/manual/{_csv(split)}", _csv(split)) for split in SPLITS}
    jsonl_files = {split: _find_root(path, f"{split}.jsonl") for split in SPLITS}
    missing = [_csv(split) for split in SPLITS if not csv_files[split] and not jsonl_files[split]]
    if missing:
        raise RELEASE.error(f"{path} does not contain {' or '.join(missing)}")
    for split in SPLITS:
        csv_file, jsonl_file = csv_files[split], jsonl_files[split]
        rows = {row.name: row for row in _read_jsonl(jsonl_file, split)} if jsonl_file else {}
        if csv_file:
            yield from (_merge_rows(row, rows.get(row.name)) for row in _read_csv(csv_file, split))
        else:
            yield from rows.values()


def _csv(split: str) -> str:
    return f"PHOENIX-2014-T.{split}.corpus.csv"


def _find_root(path: Path, *markers: str) -> Path | None:
    """Return the first of ``markers`` in the folder or, as in the archive, one or two levels below."""
    folders = (path, *sorted(path.glob("*/")), *sorted(path.glob("PHOENIX*/PHOENIX*/")))
    return next((f / marker for marker in markers for f in folders if (f / marker).is_file()), None)


def _merge_rows(row: _Row, other: _Row | None) -> _Row:
    if other is None:
        return row
    languages = {language for language, _ in row.sentence.texts}
    texts = row.sentence.texts + tuple(text for text in other.sentence.texts if text[0] not in languages)
    return row._replace(sentence=replace(row.sentence, texts=texts, frames=other.sentence.frames))


def _read_csv(file: Path, split: str) -> Iterator[_Row]:
    for location, row in read_table(file, "|"):
        glosses = row.get("orth", row.get("orthography"))
        if "name" not in row or glosses is None or "translation" not in row:
            raise RELEASE.error(f"{location}: columns {', '.join(row)}, expected name, speaker, orth and translation")
        sentence = Sentence(
            id=f"{RELEASE.name}/{split}/{row['name']}",
            split=split,
            glosses=tuple(glosses.split()),
            texts=(("de", row["translation"].strip()),),
        )
        yield _Row(row["name"], sentence, row.get("speaker") or None)


def _read_jsonl(file: Path, split: str) -> Iterator[_Row]:
    for location, line in read_lines(file):
        try:
            row = json.loads(line)
            name = _parse_text(row["name"]).removeprefix(f"{split}/")
            if not isinstance(row["gloss"], list):
                raise TypeError("gloss is not a list")
            sentence = Sentence(
                id=f"{RELEASE.name}/{split}/{name}",
                split=split,
                glosses=tuple(_parse_text(gloss) for gloss in row["gloss"]),
                texts=tuple((str(tag), _parse_text(text).strip()) for tag, text in row["text"].items()),
                frames=int(row["num_frames"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RELEASE.error(
                f"{location} is not an annotation with name, gloss, text, num_frames ({error!r})"
            ) from error
        yield _Row(name, sentence, None)


def _parse_text(value: Any) -> str:
    if not isinstance(value, str | int | float):
        raise TypeError(f"{type(value).__name__} instead of a text")
    return str(value)
