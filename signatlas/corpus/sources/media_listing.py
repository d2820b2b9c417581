"""A listing of what is named on a command line: videos, folders, globs and object-store addresses, without labels."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from signatlas.corpus.clips import sign_language_code
from signatlas.corpus.format import CorpusInfo
from signatlas.corpus.sources.base import Item, Listing
from signatlas.errors import MediaError
from signatlas.files import filesystem
from signatlas.pose.media import display_name
from signatlas.pose.pictures import ENDINGS as PICTURES
from signatlas.pose.pictures import natural

VIDEOS = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".flv", ".wmv", ".ogv", ".3gp",
    ".mxf", ".gif",
)  # fmt: skip
MANIFESTS = (".csv", ".tsv", ".jsonl")
SOURCE = "video"


def listing(
    paths: Sequence[str], *, name: str, sign_language: str, license: str, source: str, fps: float | None = None
) -> Listing:
    """The recordings that ``paths`` name, in that order; inside a folder in the natural order of their names.

    A folder holds videos and `.pose` files, at any depth, or is itself a recording of pictures at ``fps``. A clip's id
    is ``name`` and the path below the folder without ending, or a file's own name. Raises MediaError for what is not
    there, and for a folder without a recording.
    """
    code = sign_language_code(sign_language)
    found = list(dict.fromkeys(pair for path in paths for pair in _recordings(path)))
    stems = Counter(_stem(label) for _, label in found)
    labels = [_stem(label) if stems[_stem(label)] == 1 else label for _, label in found]
    again = Counter(labels)
    items = tuple(
        Item(f"{name}/{label if again[label] == 1 else media}", media, code, SOURCE, fps=fps)
        for (media, _), label in zip(found, labels, strict=True)
    )
    return Listing(CorpusInfo(name, "1", license, source, (code,)), items)


def _stem(label: str) -> str:
    return str(PurePosixPath(label).with_suffix("")) if label.lower().endswith((*VIDEOS, ".pose")) else label


def _recordings(path: str) -> Iterator[tuple[str, str]]:
    """(path or URI, label) of each recording."""
    if "://" not in path and glob.has_magic(path) and not os.path.exists(path):
        matches = sorted(glob.glob(path, recursive=True), key=natural)
        if not matches:
            raise MediaError(f"nothing matches {path}; check the pattern")
        for match in matches:
            yield from _recordings(match)
        return
    from pyarrow import ArrowException
    from pyarrow.fs import FileSelector, FileType

    try:
        store, inner = filesystem(path)
        kind = store.get_file_info(inner).type
        if kind == FileType.NotFound:
            raise MediaError(f"{display_name(path)} is missing; check the path")
        if kind == FileType.File:
            yield path, os.path.basename(path)
            return
        if "://" in path and "?" in path:
            raise MediaError(f"{display_name(path)}: name the endpoint by AWS_ENDPOINT_URL, not after a question mark")
        held = [f.path for f in store.get_file_info(FileSelector(inner, recursive=True)) if f.is_file]
    except (OSError, ArrowException, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise MediaError(f"{display_name(path)} cannot be reached ({reason}); check address and access") from error
    yield from _inside(path.rstrip("/"), inner.rstrip("/"), held)


def _inside(folder: str, inner: str, held: Sequence[str]) -> Iterator[tuple[str, str]]:
    below = [file[len(inner) + 1 :] for file in sorted(held, key=natural)]
    visible = [file for file in below if not any(part.startswith(".") for part in file.split("/"))]
    recordings = [file for file in visible if file.lower().endswith((*VIDEOS, ".pose"))]
    pictures = {os.path.dirname(file): None for file in visible if file.lower().endswith(PICTURES)}
    if recordings:
        yield from ((f"{folder}/{file}", file) for file in recordings)
    elif pictures:
        base = os.path.basename(folder)
        yield from ((f"{folder}/{sub}".rstrip("/"), sub or base) for sub in pictures)
    else:
        raise MediaError(f"{display_name(folder)} holds no video ({', '.join(VIDEOS[:5])}, ...) and no pictures")
