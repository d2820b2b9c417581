"""A listing: the recordings of a corpus as its authors ship it, and what is known of each, before poses are taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from signatlas.corpus.format import CorpusInfo


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
