"""Export clips as `.pose` files with an index.csv, in the layout that `sources/pose_lexicon.py` imports."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from signatlas.corpus.clips import Clip
from signatlas.corpus.sources.pose_lexicon import COLUMNS
from signatlas.errors import CorpusError
from signatlas.files import folder_atomically


def export(
    clips: Iterable[Clip],
    out: str | os.PathLike[str],
    *,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    overwrite: bool = False,
) -> int:
    """Write a `.pose` file per clip, named by its id, and index.csv with a row per text; return the number of clips.

    ``fps`` and ``size`` (width, height in pixels) are used for clips without their own, since a `.pose` file needs
    both. A failure leaves no folder behind. Raises CorpusError for an existing folder, a clip without frame rate or
    size, and when there is no clip.
    """
    from signatlas.pose.serialization import write_pose

    try:
        with folder_atomically(out, overwrite=overwrite) as partial:
            rows: list[dict[str, object]] = []
            used_names: set[str] = set()
            for clip in clips:
                rate, (width, height) = _rate(clip, fps), _size(clip, size)
                name = _file_name(clip.id, used_names)
                target = partial / name
                target.parent.mkdir(parents=True, exist_ok=True)
                write_pose(target, clip.poses, rate, width, height)
                rows += _rows(clip, name)
            if not used_names:
                raise CorpusError("no clip to export: choose another --split, --source or --clip")
            _write_index(partial / "index.csv", rows)
    except FileExistsError as error:
        raise CorpusError(f"{error}: choose another --out or pass --overwrite") from error
    return len(used_names)


def _rate(clip: Clip, fps: float | None) -> float:
    if clip.fps is None and fps is None:
        raise CorpusError(f"clip {clip.id} has no frame rate, which a .pose file needs: give --fps, such as 25")
    return float(clip.fps or fps or 0)


def _size(clip: Clip, size: tuple[int, int] | None) -> tuple[int, int]:
    if clip.width and clip.height:
        return clip.width, clip.height
    if size is None:
        raise CorpusError(f"clip {clip.id} has no image size, which a .pose file needs: give --size, such as 640x480")
    return size


def _file_name(id: str, used: set[str]) -> str:
    """Return a path inside the folder for any id; names that differ only in case get a number."""
    parts = [re.sub(r"[^\w.@ -]+", "-", part).strip(". ") or "-" for part in id.split("/") if part]
    stem = "/".join(parts) or "clip"
    name, number = stem, 1
    while name.casefold() in used:
        number += 1
        name = f"{stem}-{number}"
    used.add(name.casefold())
    return f"{name}.pose"


def _rows(clip: Clip, name: str) -> Iterator[dict[str, object]]:
    glosses = clip.gloss or " ".join(clip.glosses or ())
    for language, text in clip.texts or (("", ""),):
        yield dict(zip(COLUMNS, (name, language, clip.sign_language, 0, 0, text, glosses), strict=True)) | {
            "priority": 0
        }


def _write_index(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, [*COLUMNS, "priority"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
