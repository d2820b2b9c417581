"""List the recordings given on a command line: videos, `.pose` files, folders, globs, URIs; without labels."""

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
from signatlas.pose.images import SUFFIXES as IMAGES
from signatlas.pose.images import natural_order
from signatlas.pose.media import display_name

VIDEOS = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".flv", ".wmv", ".ogv", ".3gp",
    ".mxf", ".gif",
)  # fmt: skip
MANIFESTS = (".csv", ".tsv", ".jsonl")
SOURCE = "video"


def listing(
    paths: Sequence[str], *, name: str, sign_language: str, license: str, source: str, fps: float | None = None
) -> Listing:
    """Return the recordings of ``paths``, in this order; those of a folder in the natural order of their names.

    A folder contains videos and `.pose` files, at any depth, or is itself a recording of images at ``fps``. An id is
    ``name`` and the path below the folder, or the file name, without suffix. Raises MediaError for a missing path and
    for a folder without a recording.
    """
    code = sign_language_code(sign_language)
    recordings = list(dict.fromkeys(pair for path in paths for pair in _find_recordings(path)))
    stems = Counter(_stem(label) for _, label in recordings)
    labels = [_stem(label) if stems[_stem(label)] == 1 else label for _, label in recordings]
    label_counts = Counter(labels)
    items = tuple(
        Item(f"{name}/{label if label_counts[label] == 1 else media}", media, code, SOURCE, fps=fps)
        for (media, _), label in zip(recordings, labels, strict=True)
    )
    return Listing(CorpusInfo(name, "1", license, source, (code,)), items)


def _stem(label: str) -> str:
    return str(PurePosixPath(label).with_suffix("")) if label.lower().endswith((*VIDEOS, ".pose")) else label


def _find_recordings(path: str) -> Iterator[tuple[str, str]]:
    """Yield (path or URI, label) of each recording."""
    if "://" not in path and glob.has_magic(path) and not os.path.exists(path):
        matches = sorted(glob.glob(path, recursive=True), key=natural_order)
        if not matches:
            raise MediaError(f"no file matches {path}: check the pattern")
        for match in matches:
            yield from _find_recordings(match)
        return
    from pyarrow import ArrowException
    from pyarrow.fs import FileSelector, FileType

    try:
        store, inner = filesystem(path)
        kind = store.get_file_info(inner).type
        if kind == FileType.NotFound:
            raise MediaError(f"{display_name(path)} is missing: check the path")
        if kind == FileType.File:
            yield path, os.path.basename(path)
            return
        if "://" in path and "?" in path:
            raise MediaError(f"{display_name(path)}: set the endpoint with AWS_ENDPOINT_URL instead of a query string")
        files = [f.path for f in store.get_file_info(FileSelector(inner, recursive=True)) if f.is_file]
    except (OSError, ArrowException, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise MediaError(
            f"{display_name(path)} cannot be reached ({reason}): check the address and your access"
        ) from error
    yield from _list_folder(path.rstrip("/"), inner.rstrip("/"), files)


def _list_folder(folder: str, inner: str, files: Sequence[str]) -> Iterator[tuple[str, str]]:
    relative = [file[len(inner) + 1 :] for file in sorted(files, key=natural_order)]
    visible = [file for file in relative if not any(part.startswith(".") for part in file.split("/"))]
    recordings = [file for file in visible if file.lower().endswith((*VIDEOS, ".pose"))]
    image_folders = {os.path.dirname(file): None for file in visible if file.lower().endswith(IMAGES)}
    if recordings:
        yield from ((f"{folder}/{file}", file) for file in recordings)
    elif image_folders:
        base = os.path.basename(folder)
        yield from ((f"{folder}/{sub}".rstrip("/"), sub or base) for sub in image_folders)
    else:
        raise MediaError(f"{display_name(folder)} contains no video ({', '.join(VIDEOS[:5])}, ...) and no images")
