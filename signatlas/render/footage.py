"""Source video of a clip: file, time span, crop box, frames."""

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

MEDIA = "media.jsonl"  # next to corpus.json: the recording of each extracted clip


@dataclass(frozen=True)
class Footage:
    """A recording and the part of it that a clip covers; arguments of :func:`signatlas.pose.video.frames`."""

    media: str
    span: tuple[int, int] | None = None
    seconds: tuple[float, float] | None = None
    target_fps: float | None = None
    box: tuple[int, int, int, int] | None = None
    fps: float | None = None

    def frames(self) -> Iterator[np.ndarray]:
        """Yield frames uint8 RGB [height, width, 3]; frame i belongs to pose i. Raises MediaError."""
        from signatlas.pose.video import frames

        return frames(self.media, span=self.span, seconds=self.seconds, target_fps=self.target_fps, box=self.box,
                      fps=self.fps)  # fmt: skip

    def exists(self) -> bool:
        """Return whether the recording still exists at its path."""
        try:
            store, root = filesystem(self.media)
            return bool(store.get_file_info(root).type)
        except (OSError, ValueError):
            return False


def of_clip(clip: Clip, corpus: Corpus) -> Footage | None:
    """Return the recording a clip was extracted from; None if it is unknown or no longer exists."""
    footage = recorded(clip, corpus)
    return footage if footage is not None and footage.exists() else None


def recorded(clip: Clip, corpus: Corpus) -> Footage | None:
    """Return the recording a clip was extracted from, whether or not it still exists; None if it is unknown.

    Raises CorpusError for a damaged line of media.jsonl.
    """
    target_fps = (corpus.info.made.get("options") or {}).get("target_fps")
    for position, row in _rows(f"{corpus.path.rstrip('/')}/{MEDIA}"):
        if row.get("id") == clip.id:
            try:
                return _footage({"target_fps": target_fps} | row)
            except (ValueError, TypeError) as error:
                raise CorpusError(f"{position} is damaged ({error}): extract the corpus again") from error
    return None


def _rows(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        content = read_bytes(path)
    except OSError:
        return
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        position = f"{path} line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise CorpusError(f"{position} is damaged ({error}): extract the corpus again") from error
        if not isinstance(row, dict):
            raise CorpusError(f"{position} is damaged (not a JSON object): extract the corpus again")
        yield position, row


def _footage(row: dict[str, Any]) -> Footage | None:
    media = str(row.get("media") or "")
    if not media or media.endswith(".pose"):
        return None
    part_fields = {"span": (int, 2), "seconds": (float, 2), "box": (int, 4)}
    part = {name: _numbers(row[name], *kind) for name, kind in part_fields.items() if row.get(name) is not None}
    rates: dict[str, Any] = {name: float(row[name]) for name in ("target_fps", "fps") if row.get(name) is not None}
    return Footage(media, **rates, **part)


def _numbers(values: Any, kind: type, count: int) -> Any:
    numbers = tuple(kind(value) for value in values)
    if len(numbers) != count:
        raise ValueError(f"expected {count} numbers, got {values}")
    return numbers
