"""Public corpora: release metadata, listings of recordings, tables."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signatlas.corpus.format import CorpusInfo
from signatlas.errors import CorpusError

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".swf")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
NUMBER = re.compile(r"(\d+)\.[A-Za-z]+$")


@dataclass(frozen=True)
class Release:
    """A corpus as its authors ship it. ``layout`` names the files that are expected, for the help and the documents."""

    name: str
    title: str
    version: str
    sign_language: str
    license: str
    url: str
    layout: str

    def refuse(self, problem: str) -> CorpusError:
        """The error for a folder that is not, or not all of, this corpus: what is wrong, and where to get it."""
        return CorpusError(f"{problem}; {self.title} is {self.layout}, to be had from {self.url} ({self.license})")

    def root(self, path: Path, marker: str) -> Path:
        """``path`` or the folder up to two levels below it in which ``marker`` is. Raises CorpusError when none has."""
        if not path.is_dir():
            raise self.refuse(f"no folder at {path}")
        children = sorted(child for child in path.iterdir() if child.is_dir())
        grandchildren = (grandchild for child in children for grandchild in sorted(child.iterdir()))
        for candidate in (path, *children, *(g for g in grandchildren if g.is_dir())):
            if (candidate / marker).exists():
                return candidate
        raise self.refuse(f"{path} has no {marker}")

    def need(self, file: Path) -> Path:
        """``file``, which the corpus cannot do without."""
        if not file.exists():
            raise self.refuse(f"{file} is missing")
        return file

    def listing(self, items: Iterable[Item], missing: Iterable[Missing], path: Path, **made: Any) -> Listing:
        """The listing of what was found. Raises CorpusError when that is nothing, or when an id occurs twice."""
        held, absent = tuple(items), tuple(missing)
        if not held:
            first = f", for instance {absent[0].id} ({absent[0].reason})" if absent else ""
            raise self.refuse(f"{path} has not one of the {len(absent)} recordings its labels name{first}")
        refuse_twins([item.id for item in held], path)
        info = CorpusInfo(
            name=self.name,
            version=self.version,
            license=self.license,
            source=self.url,
            sign_languages=tuple(sorted({item.sign_language for item in held})),
            made={"kind": self.name, "named": len(held) + len(absent), "splits": "the authors'", **made},
        )
        return Listing(info, held, absent)


def refuse_twins(ids: Iterable[str], path: Path) -> None:
    """Raises CorpusError for the first id that occurs twice."""
    seen: set[str] = set()
    for id in ids:
        if id in seen:
            raise CorpusError(f"{path} names '{id}' twice: leave one of them out")
        seen.add(id)


def table(
    file: Path, delimiter: str, columns: Sequence[str] | None = None, *, quoted: bool = False
) -> Iterator[tuple[str, dict[str, str]]]:
    """(where, row) of each line of a delimited file; ``where`` is "FILE line N", for errors.

    Without ``columns`` the first line names them. Unless ``quoted``, quotation marks are ordinary characters. Raises
    CorpusError for a file that cannot be read, and for a line with more or fewer values than columns.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            quoting = {} if quoted else {"quoting": csv.QUOTE_NONE}
            reader = csv.reader(stream, delimiter=delimiter, strict=quoted, **quoting)  # type: ignore[arg-type]
            for values in reader:
                where = f"{file} line {reader.line_num}"
                if not any(value.strip() for value in values):
                    continue
                if columns is None:
                    columns = [value.strip() for value in values]
                    continue
                if len(values) != len(columns):
                    raise CorpusError(f"{where}: {len(values)} values, expected {len(columns)}: {', '.join(columns)}")
                yield where, dict(zip(columns, values, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{file} cannot be read as a table ({error}): get it again") from error


def lines(file: Path) -> Iterator[tuple[str, str]]:
    """(where, line) of each line of a UTF-8 file that is not blank; ``where`` is "FILE line N", for errors.

    Raises CorpusError, naming the line, for what is not UTF-8.
    """
    try:
        with file.open("rb") as stream:
            for number, content in enumerate(stream, start=1):
                where = f"{file} line {number}"
                try:
                    line = content.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise CorpusError(f"{where} is not UTF-8 ({error.reason}): save the file as UTF-8") from error
                if line.strip():
                    yield where, line
    except OSError as error:
        raise CorpusError(f"{file} cannot be read ({error.strerror or error}): get it again") from error


def whole_number(where: str, row: dict[str, str], column: str) -> int:
    """The whole number in a column. Raises CorpusError, naming the line."""
    try:
        return int(row[column])
    except ValueError as error:
        raise CorpusError(f"{where}: {column} is '{row[column]}', expected a whole number") from error


def videos_in(folder: Path) -> dict[str, Path]:
    """Name without suffix -> video, of a folder; the suffixes of ``VIDEO_SUFFIXES``, the first of them first."""
    found: dict[str, Path] = {}
    if not folder.is_dir():
        return found
    for entry in os.scandir(folder):
        path = Path(entry.path)
        if path.suffix.lower() in VIDEO_SUFFIXES and entry.is_file():
            other = found.get(path.stem)
            if other is None or _rank(path) < _rank(other):
                found[path.stem] = path
    return found


def _rank(path: Path) -> tuple[int, str]:
    return VIDEO_SUFFIXES.index(path.suffix.lower()), path.name


def pictures(folder: Path) -> int:
    """How many frame pictures the folder's own numbers announce: from the first number to the last; 0 for no picture.

    A picture missing in between counts, so that extraction can tell that it is missing. Names without a number are
    counted as they are.
    """
    if not folder.is_dir():
        return 0
    names = [entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(PICTURE_SUFFIXES)]
    numbers = [int(found.group(1)) for name in names if (found := NUMBER.search(name))]
    return max(numbers) - min(numbers) + 1 if names and len(numbers) == len(names) else len(names)


@dataclass(frozen=True)
class Item:
    """One recording to extract, and its labels (as :class:`signatlas.corpus.format.Clip` has them).

    ``media`` is a path or URI of a video, of a `.pose` file or of a folder of frame pictures in the order of their
    names. ``span`` cuts it: (first frame, frame after the last), or None for all; ``seconds`` does the same in
    seconds. ``box`` (left, top, right, bottom, in pixels) crops each frame: image units are then those of the crop.
    ``frames`` is what the source announces, after the cut; ``fps`` that of a folder of pictures; ``sha256`` of the
    file, where the source gives it. ``shown_as`` is the (width, height) with which stored pictures have their true
    proportions, where they are squeezed: it becomes the clip's width and height (image units stay the same).
    """

    id: str
    media: str
    sign_language: str
    source: str
    split: str = "train"
    signer: str | None = None
    gloss: str | None = None
    glosses: tuple[str, ...] | None = None
    texts: tuple[tuple[str, str], ...] = ()
    span: tuple[int, int] | None = None
    seconds: tuple[float, float] | None = None
    box: tuple[int, int, int, int] | None = None
    frames: int | None = None
    fps: float | None = None
    sha256: str | None = None
    shown_as: tuple[int, int] | None = None


@dataclass(frozen=True)
class Missing:
    """A recording that the source names but that is not there, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """The items of a corpus; ``missing`` is reported, never hidden."""

    info: CorpusInfo
    items: tuple[Item, ...]
    missing: tuple[Missing, ...] = ()

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)
