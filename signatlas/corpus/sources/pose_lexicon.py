"""Lexicons of `.pose` files with an index.csv, as spoken-to-signed translation uses them; the poses are there already.

Columns of `index.csv`: path, spoken_language, signed_language, start, end (milliseconds into the file; end 0: to its
end), words, glosses, priority (of entries of one word; kept out: every entry is a recording of its own).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from signatlas.corpus.clips import Clip, sign_language_code
from signatlas.corpus.sources.base import Item, Listing, Missing, Release, table, whole_number
from signatlas.errors import PoseError
from signatlas.pose.serialization import read_pose

RELEASE = Release(
    name="pose-lexicon",
    title="A lexicon of .pose files",
    version="1",
    sign_language="",  # each entry has its own
    license="that of its recordings",
    url="https://github.com/sign-language-processing/spoken-to-signed-translation",
    layout="index.csv and the .pose files it names",
)
COLUMNS = ("path", "spoken_language", "signed_language", "start", "end", "words", "glosses")


def read(path: Path, *, name: str | None = None, license: str = "unknown", source: str = "unknown") -> Listing:
    """The entries of a lexicon; several entries of one recording are one item with all their words.

    The gloss is the entry's gloss, or its words where it has none. Raises CorpusError when the index or every file is
    missing, and for a line that makes no sense.
    """
    root = RELEASE.root(path, "index.csv")
    name = name or root.name
    found: dict[tuple[str, int, int], Item] = {}
    missing = []
    for where, row in table(root / "index.csv", ",", quoted=True):
        if not set(COLUMNS) <= row.keys():
            raise RELEASE.refuse(f"{where}: columns {', '.join(row)}, expected {', '.join(COLUMNS)}")
        start, end = whole_number(where, row, "start"), whole_number(where, row, "end")
        if start < 0 or end < 0 or (end and end <= start):
            raise RELEASE.refuse(f"{where}: from {start} to {end} ms, which is no part of a recording")
        item = _item(name, root, row, start, end)
        if not Path(item.media).is_file():
            missing.append(Missing(item.id, f"nothing at {item.media} ({where})"))
            continue
        before = found.get((row["path"], start, end))
        found[row["path"], start, end] = item if before is None else _joined(before, item)
    listing = RELEASE.listing(found.values(), missing, root)
    made = {key: value for key, value in listing.info.made.items() if key != "splits"}  # a lexicon has none
    return replace(listing, info=replace(listing.info, name=name, license=license, source=source, made=made))


def _item(name: str, root: Path, row: dict[str, str], start: int, end: int) -> Item:
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


def _joined(one: Item, other: Item) -> Item:
    return replace(one, texts=one.texts + tuple(text for text in other.texts if text not in one.texts))


def clips(listing: Listing, on_bad: Callable[[Item, str], None]) -> Iterator[Clip]:
    """A clip for each item, its poses from the `.pose` file; one that cannot be used goes to ``on_bad`` with a reason.

    A cut takes every frame that is shown at any time between its start and its end.
    """
    for item in listing:
        try:
            held = read_pose(item.media)
        except PoseError as error:
            on_bad(item, str(error))
            continue
        poses = held.poses
        if item.seconds:
            # Rounded, so that 0.7 s at 10 frames a second are 7 frames, not 7 and a bit.
            first, end = (round(seconds * held.fps, 6) for seconds in item.seconds)
            poses = poses[math.floor(first) : None if math.isinf(end) else math.ceil(end)]
        if len(poses) == 0:
            on_bad(item, f"{item.media} ends before {item.seconds[0] if item.seconds else 0:g} s: nothing is left")
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
            fps=held.fps,
            width=held.width,
            height=held.height,
        )
