"""Read a lexicon of `.pose` files with an index.csv, the layout of spoken-to-signed translation.

Columns of `index.csv`: path, spoken_language, signed_language, start, end (milliseconds; end 0 is the end of the
file), words, glosses, priority (among entries of one word; ignored, each entry is a recording).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from signatlas.corpus.clips import Clip, sign_language_code
from signatlas.corpus.sources.base import Item, Listing, Missing, Release, parse_int, read_table
from signatlas.errors import PoseError
from signatlas.pose.serialization import read_pose

RELEASE = Release(
    name="pose-lexicon",
    title="A lexicon of .pose files",
    version="1",
    sign_language="",  # each entry has one
    license="that of its recordings",
    url="https://github.com/sign-language-processing/spoken-to-signed-translation",
    layout="index.csv and the .pose files it lists",
)
COLUMNS = ("path", "spoken_language", "signed_language", "start", "end", "words", "glosses")


def read(path: Path, *, name: str | None = None, license: str = "unknown", source: str = "unknown") -> Listing:
    """Return the entries of a lexicon; entries of the same recording are merged into one item with all their words.

    The gloss is that of the entry, or else its words. Raises CorpusError when the index or every file is missing, and
    for an invalid line.
    """
    root = RELEASE.root(path, "index.csv")
    name = name or root.name
    items: dict[tuple[str, int, int], Item] = {}
    missing = []
    for location, row in read_table(root / "index.csv", ",", quoted=True):
        if not set(COLUMNS) <= row.keys():
            raise RELEASE.error(f"{location}: columns {', '.join(row)}, expected {', '.join(COLUMNS)}")
        start, end = parse_int(location, row, "start"), parse_int(location, row, "end")
        if start < 0 or end < 0 or (end and end <= start):
            raise RELEASE.error(f"{location}: {start} to {end} ms is not a valid time span")
        item = _make_item(name, root, row, start, end)
        if not Path(item.media).is_file():
            missing.append(Missing(item.id, f"no file {item.media} ({location})"))
            continue
        key = (row["path"], start, end)
        items[key] = _merge(items[key], item) if key in items else item
    listing = RELEASE.listing(items.values(), missing, root)
    made = {key: value for key, value in listing.info.made.items() if key != "splits"}  # none in a lexicon
    return replace(listing, info=replace(listing.info, name=name, license=license, source=source, made=made))


def _make_item(name: str, root: Path, row: dict[str, str], start: int, end: int) -> Item:
    stem = row["path"].strip().removesuffix(".pose")
    words = row["words"].strip()
    return Item(
        id=f"{name}/{stem}" + (f"@{start}-{end or 'end'}" if start or end else ""),
        media=str(root / row["path"].strip()),
        sign_language=sign_language_code(row["signed_language"].strip()),
        source=name,
        gloss=row["glosses"].strip() or words or None,
        texts=((row["spoken_language"].strip(), words),) if words else (),
        seconds=(start / 1000, end / 1000 if end else math.inf) if start or end else None,
    )


def _merge(item: Item, other: Item) -> Item:
    return replace(item, texts=item.texts + tuple(text for text in other.texts if text not in item.texts))


def clips(listing: Listing, on_unusable: Callable[[Item, str], None]) -> Iterator[Clip]:
    """Yield a clip per item with the poses of its `.pose` file; unusable items go to ``on_unusable`` with a reason.

    A time span includes every frame that is shown at any time between its start and its end.
    """
    for item in listing:
        try:
            pose_file = read_pose(item.media)
        except PoseError as error:
            on_unusable(item, str(error))
            continue
        poses = pose_file.poses
        if item.seconds:
            # Rounded, so that 0.7 s at 10 frames per second is 7 frames, not slightly more.
            first, end = (round(seconds * pose_file.fps, 6) for seconds in item.seconds)
            poses = poses[math.floor(first) : None if math.isinf(end) else math.ceil(end)]
        if len(poses) == 0:
            on_unusable(
                item, f"{item.media} ends before {item.seconds[0] if item.seconds else 0:g} s, the start of the entry"
            )
            continue
        yield Clip(
            id=item.id,
            split=item.split,
            poses=poses,
            sign_language=item.sign_language,
            source=item.source,
            signer=item.signer,
            gloss=item.gloss,
            glosses=item.glosses,
            texts=item.texts,
            fps=pose_file.fps,
            width=pose_file.width,
            height=pose_file.height,
        )
