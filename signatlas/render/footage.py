"""The video that poses were found in: which file, which part of it, and its frames."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

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


def of_clip(clip: Clip, corpus: Corpus) -> Footage | None:
    """The recording that a clip of ``corpus`` was extracted from, if it is known and still there."""
    thinned = (corpus.info.made.get("options") or {}).get("target_fps")
    for row in _rows(corpus.path):
        if row.get("id") == clip.id:
            found = _footage({"target_fps": thinned} | row)
            return found if found is not None and _is_there(found.media) else None
    return None


def _rows(corpus: str) -> Iterator[dict[str, Any]]:
    try:
        content = read_bytes(f"{corpus.rstrip('/')}/{MEDIA}")
    except OSError:
        return
    for line in content.splitlines():
        if line.strip():
            yield json.loads(line)


def _footage(row: dict[str, Any]) -> Footage | None:
    media = str(row.get("media") or "")
    if not media or media.endswith(".pose"):
        return None
    cut = {name: None if row.get(name) is None else tuple(row[name]) for name in ("span", "seconds", "box")}
    return Footage(media, target_fps=row.get("target_fps"), fps=row.get("fps"), **cut)


def _is_there(media: str) -> bool:
    try:
        store, inner = filesystem(media)
        return bool(store.get_file_info(os.fspath(inner)).type)
    except OSError:
        return False
