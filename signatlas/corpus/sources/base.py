"""The interface of a public corpus, listings of its recordings, and helpers to read its files."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from signatlas.errors import CorpusError

if TYPE_CHECKING:
    from signatlas.corpus.format import Clip, CorpusInfo

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".swf")  # the first is preferred
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
FRAME_NUMBER = re.compile(r"(\d+)\.[A-Za-z]+$")
Track = Callable[[list[str]], Iterable[str]]  # wraps a list of names in a progress bar


@runtime_checkable
class Source(Protocol):
    """A public corpus as its authors release it, implemented by each module in this folder that ``SOURCES`` lists.

    ``read`` takes the folder or file of a release and returns the recordings to extract poses from (a
    :class:`Listing`, for ``signatlas corpus import``) or, for a corpus of keypoints with a ``RELEASE.download``,
    finished clips (:class:`PoseClips`, for ``signatlas corpus fetch``). Its first argument is the path; keypoint
    corpora also take ``track``, a :data:`Track`; others may take options such as a subset. It raises CorpusError,
    with the file and line, for a release that is incomplete or malformed.
    """

    @property
    def RELEASE(self) -> Release: ...

    def read(self, path: Path, *args: Any, **options: Any) -> Listing | PoseClips: ...


@dataclass(frozen=True)
class Download:
    """A download that needs no agreement, and how to find and verify a local copy of it.

    ``url`` is a zip of the authors' repository at a fixed commit, ``digest`` the :class:`PoseClips` digest of its
    content, and ``find`` returns the zip, checkout or .npz in a mirror folder, or None.
    """

    url: str
    digest: str
    find: Callable[[Path], Path | None]


@dataclass(frozen=True)
class Release:
    """A release of a public corpus. ``layout`` names the expected files, for error messages and the help."""

    name: str
    title: str
    version: str
    sign_language: str
    license: str
    url: str
    layout: str
    download: Download | None = None

    def info(self, **made: Any) -> CorpusInfo:
        """Return the corpus.json metadata of this release; ``made`` records how the corpus was made."""
        from signatlas.corpus.format import CorpusInfo

        return CorpusInfo(self.name, self.version, self.license, self.url, (self.sign_language,), made=made)

    def error(self, problem: str) -> CorpusError:
        """Return an error that says what is wrong with a folder, which files are expected, and where to get them."""
        return CorpusError(
            f"{problem}; {self.title} consists of {self.layout}; get it from {self.url} ({self.license})"
        )

    def root(self, path: Path, marker: str) -> Path:
        """Return ``path`` or the folder up to two levels below that contains ``marker``. Raises CorpusError if none."""
        if not path.is_dir():
            raise self.error(f"no folder at {path}")
        children = sorted(child for child in path.iterdir() if child.is_dir())
        grandchildren = (grandchild for child in children for grandchild in sorted(child.iterdir()))
        for candidate in (path, *children, *(g for g in grandchildren if g.is_dir())):
            if (candidate / marker).exists():
                return candidate
        raise self.error(f"{path} does not contain {marker}")

    def require(self, file: Path) -> Path:
        """Return ``file``. Raises CorpusError if it does not exist."""
        if not file.exists():
            raise self.error(f"{file} is missing")
        return file

    def listing(self, items: Iterable[Item], missing: Iterable[Missing], path: Path, **made: Any) -> Listing:
        """Return a listing of this release. Raises CorpusError when there is no item and for duplicate ids."""
        from signatlas.corpus.format import CorpusInfo

        items, missing = tuple(items), tuple(missing)
        if not items:
            first = f", for example {missing[0].id} ({missing[0].reason})" if missing else ""
            raise self.error(f"{path} contains none of the {len(missing)} recordings that its labels list{first}")
        require_unique_ids([item.id for item in items], path)
        info = CorpusInfo(
            name=self.name,
            version=self.version,
            license=self.license,
            source=self.url,
            sign_languages=tuple(sorted({item.sign_language for item in items})),
            made={"kind": self.name, "named": len(items) + len(missing), "splits": "the authors'", **made},
        )
        return Listing(info, items, missing)


@dataclass(frozen=True)
class Item:
    """One recording to extract, and its labels (as in :class:`signatlas.corpus.format.Clip`).

    ``media`` is the path or URI of a video, of a `.pose` file, or of a folder of frame images in natural order.
    ``span`` (first frame, frame after the last) or ``seconds`` (from, to) select a part of it. ``box`` (left, top,
    right, bottom, in pixels) crops each frame; image units are then those of the crop. ``frames`` is the number of
    frames that the source announces, after the cut; ``fps`` the frame rate of a folder of images; ``sha256`` that of
    the file, if the source gives it. ``shown_as`` is the (width, height) with the true proportions of images that are
    stored squeezed: the clip gets this width and height, image units stay the same.
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
    """A recording that the source lists but whose file is missing, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """The recordings of a corpus, before their poses are extracted, and those that are missing."""

    info: CorpusInfo
    items: tuple[Item, ...]
    missing: tuple[Missing, ...] = ()

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class PoseClips:
    """The clips of a corpus of keypoints, with splits, and a sha256 of the files they were read from."""

    info: CorpusInfo
    clips: list[Clip]
    digest: str


def require_unique_ids(ids: Iterable[str], path: Path) -> None:
    """Raise CorpusError for the first duplicate id."""
    seen: set[str] = set()
    for id in ids:
        if id in seen:
            raise CorpusError(f"{path} lists the id '{id}' twice: remove one of the lines")
        seen.add(id)


def read_table(
    file: Path, delimiter: str, columns: Sequence[str] | None = None, *, quoted: bool = False
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (location, row) for each line of a delimited file; the location is "FILE line N", for error messages.

    Without ``columns`` the first line names them. Unless ``quoted``, quotation marks are ordinary characters. Raises
    CorpusError for an unreadable file and for a line with a wrong number of values.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            quoting = {} if quoted else {"quoting": csv.QUOTE_NONE}
            reader = csv.reader(stream, delimiter=delimiter, strict=quoted, **quoting)  # type: ignore[arg-type]
            for values in reader:
                location = f"{file} line {reader.line_num}"
                if not any(value.strip() for value in values):
                    continue
                if columns is None:
                    columns = [value.strip() for value in values]
                    continue
                if len(values) != len(columns):
                    raise CorpusError(
                        f"{location}: {len(values)} values, expected {len(columns)}: {', '.join(columns)}"
                    )
                yield location, dict(zip(columns, values, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{file} cannot be read as a table ({error}): get a new copy") from error


def read_lines(file: Path) -> Iterator[tuple[str, str]]:
    """Yield (location, line) for each non-blank line of a UTF-8 file; the location is "FILE line N".

    Raises CorpusError, with the line, for text that is not UTF-8.
    """
    try:
        with file.open("rb") as stream:
            for number, content in enumerate(stream, start=1):
                location = f"{file} line {number}"
                try:
                    line = content.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise CorpusError(f"{location} is not UTF-8 ({error.reason}): save the file as UTF-8") from error
                if line.strip():
                    yield location, line
    except OSError as error:
        raise CorpusError(f"{file} cannot be read ({error.strerror or error}): get a new copy") from error


def parse_int(location: str, row: dict[str, str], column: str) -> int:
    """Return the integer in a column. Raises CorpusError, with the line."""
    try:
        return int(row[column])
    except ValueError as error:
        raise CorpusError(f"{location}: {column} is '{row[column]}', expected an integer") from error


def find_videos(folder: Path) -> dict[str, Path]:
    """Return the videos of a folder by name without suffix, preferring suffixes in the order of ``VIDEO_SUFFIXES``."""
    videos: dict[str, Path] = {}
    if not folder.is_dir():
        return videos
    for entry in os.scandir(folder):
        path = Path(entry.path)
        if path.suffix.lower() in VIDEO_SUFFIXES and entry.is_file():
            other = videos.get(path.stem)
            if other is None or _suffix_rank(path) < _suffix_rank(other):
                videos[path.stem] = path
    return videos


def _suffix_rank(path: Path) -> tuple[int, str]:
    return VIDEO_SUFFIXES.index(path.suffix.lower()), path.name


def count_images(folder: Path) -> int:
    """Return the number of frames of a folder of images, from the first to the last number in their names.

    Missing numbers in between count, so that extraction notices them. Images without a number in the name are just
    counted. 0 without an image.
    """
    if not folder.is_dir():
        return 0
    names = [entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(IMAGE_SUFFIXES)]
    numbers = [int(match.group(1)) for name in names if (match := FRAME_NUMBER.search(name))]
    return max(numbers) - min(numbers) + 1 if names and len(numbers) == len(names) else len(names)
