"""The video that poses were found in: which file, which part of it, and its frames."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from signatlas.errors import CorpusError
from signatlas.files import filesystem, read_bytes

if TYPE_CHECKING:
    from signatlas.corpus.clips import Clip
    from signatlas.corpus.format import Corpus

MEDIA = "media.jsonl"  # beside corpus.json: which recording each extracted clip was made of


@dataclass(frozen=True)
class Footage:
    """A recording and the cut of it that a clip is made of, as :func:`signatlas.pose.video.frames` takes them."""

    media: str
    span: tuple[int, int] | None = None
    seconds: tuple[float, float] | None = None
    target_fps: float | None = None
    box: tuple[int, int, int, int] | None = None
    fps: float | None = None

    def frames(self) -> Iterator[np.ndarray]:
        """uint8 RGB [height, width, 3], streamed; frame i is that of pose i. Raises MediaError."""
        from signatlas.pose.video import frames

        return frames(self.media, span=self.span, seconds=self.seconds, target_fps=self.target_fps, box=self.box,
                      fps=self.fps)  # fmt: skip

    def is_there(self) -> bool:
        """Whether the recording is still where it was."""
        try:
            store, root = filesystem(self.media)
            return bool(store.get_file_info(root).type)
        except (OSError, ValueError):
            return False


def of_clip(clip: Clip, corpus: Corpus) -> Footage | None:
    """The recording that a clip of ``corpus`` was extracted from, if it is known and still there."""
    found = recorded(clip, corpus)
    return found if found is not None and found.is_there() else None


def recorded(clip: Clip, corpus: Corpus) -> Footage | None:
    """The recording that a clip of ``corpus`` was extracted from, if it is known, whether or not it is still there.

    Raises CorpusError for a damaged media.jsonl, naming the line.
    """
    thinned = (corpus.info.made.get("options") or {}).get("target_fps")
    for where, row in _rows(f"{corpus.path.rstrip('/')}/{MEDIA}"):
        if row.get("id") == clip.id:
            try:
                return _footage({"target_fps": thinned} | row)
            except (ValueError, TypeError) as error:
                raise CorpusError(f"{where} is damaged ({error}): extract the corpus again") from error
    return None


def _rows(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        content = read_bytes(path)
    except OSError:
        return
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise CorpusError(f"{where} is damaged ({error}): extract the corpus again") from error
        if not isinstance(row, dict):
            raise CorpusError(f"{where} is damaged (no object of columns and values): extract the corpus again")
        yield where, row


def _footage(row: dict[str, Any]) -> Footage | None:
    media = str(row.get("media") or "")
    if not media or media.endswith(".pose"):
        return None
    whole = {"span": (int, 2), "seconds": (float, 2), "box": (int, 4)}
    cut = {name: _numbers(row[name], *kind) for name, kind in whole.items() if row.get(name) is not None}
    rates: dict[str, Any] = {name: float(row[name]) for name in ("target_fps", "fps") if row.get(name) is not None}
    return Footage(media, **rates, **cut)


def _numbers(values: Any, kind: type, number: int) -> Any:
    found = tuple(kind(value) for value in values)
    if len(found) != number:
        raise ValueError(f"{values} are not {number} numbers")
    return found
