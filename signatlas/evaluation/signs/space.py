"""Clips as points: metadata rows with one vector each, and filters that choose among them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from signatlas.errors import UserError

if TYPE_CHECKING:
    from signatlas.corpus.format import Clip

Row = dict[str, Any]
Keep = Callable[[Row], bool]
FILTER_COLUMNS = ("id", "split", "signer", "signer_kind", "sign_language", "gloss", "source")


class Encoder(Protocol):
    """Whatever turns clips into unit vectors float32 [N, D]; signatlas.models.sign_encoder.SignEncoder does."""

    def embed_clips(self, clips: Iterable[Clip], *, mirror: bool = False, batch_size: int = 256) -> np.ndarray: ...


@dataclass(frozen=True)
class Space:
    """Rows of metadata (at least ``id`` and ``gloss``) with vectors [N, D].

    ``mirrored`` [N, D] holds the vectors of the same clips seen in a mirror; None when nobody asked. Cosine spaces
    hold unit vectors.
    """

    rows: list[Row]
    vectors: np.ndarray
    mirrored: np.ndarray | None = None
    similarity: Literal["cosine", "euclidean"] = "cosine"

    def __post_init__(self) -> None:
        if len(self.rows) != len(self.vectors):
            raise ValueError(f"{len(self.rows)} rows but {len(self.vectors)} vectors")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> np.ndarray:
        return self.column("id")

    @property
    def glosses(self) -> np.ndarray:
        return self.column("gloss")

    def column(self, name: str) -> np.ndarray:
        """One metadata column, object [N]."""
        return np.array([row.get(name) for row in self.rows], dtype=object)

    def where(self, keep: Keep) -> Space:
        """The part of the space whose rows ``keep`` accepts."""
        chosen = [i for i, row in enumerate(self.rows) if keep(row)]
        mirrored = None if self.mirrored is None else self.mirrored[chosen]
        return Space([self.rows[i] for i in chosen], self.vectors[chosen], mirrored, self.similarity)

    def seen_in_a_mirror(self) -> Space:
        """The same clips as a left-handed signer would have signed them."""
        if self.mirrored is None:
            raise ValueError("this space was made without mirrored vectors")
        return Space(self.rows, self.mirrored, self.vectors, self.similarity)

    def moved(self, vectors: np.ndarray) -> Space:
        """The same clips at other places."""
        return Space(self.rows, vectors, None, self.similarity)


def embed(encoder: Encoder, clips: Iterable[Clip], *, mirror: bool = False, chunk: int = 512) -> Space:
    """A cosine space of ``clips``, ``chunk`` of them in memory at once; with ``mirror`` also their mirrored vectors.

    Raises PoseError for a bad clip.
    """
    rows: list[Row] = []
    plain: list[np.ndarray] = []
    flipped: list[np.ndarray] = []
    for part in batched(clips, chunk):
        rows += [row_of(clip) for clip in part]
        plain.append(encoder.embed_clips(part))
        if mirror:
            flipped.append(encoder.embed_clips(part, mirror=True))
    if not rows:
        raise UserError("no clip to embed: the corpus has none of the parts this protocol reads")
    return Space(rows, np.concatenate(plain), np.concatenate(flipped) if mirror else None)


def batched(clips: Iterable[Clip], size: int) -> Iterator[list[Clip]]:
    """Lists of up to ``size`` clips."""
    stream = iter(clips)
    while part := list(islice(stream, size)):
        yield part


def row_of(clip: Clip) -> Row:
    """The metadata of a clip that filters and rankings read."""
    return {name: getattr(clip, name) for name in FILTER_COLUMNS}


def similarities(queries: Space, gallery: Space) -> np.ndarray:
    """float32 [Q, G], higher is nearer: cosine, or minus the squared Euclidean distance."""
    products = queries.vectors @ gallery.vectors.T
    if queries.similarity == "cosine":
        return products.astype(np.float32)
    lengths = (queries.vectors**2).sum(1)[:, None] + (gallery.vectors**2).sum(1)[None]
    return (2 * products - lengths).astype(np.float32)


def parse_filter(text: str) -> Keep:
    """A filter of rows from text such as ``source=webcam,split=train|dev,gloss!=haus``.

    Conditions are joined by commas (and), values by ``|`` (or). Raises UserError for what it cannot read.
    """
    conditions: list[tuple[str, bool, set[str]]] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\w+)\s*(!?=)\s*(.*?)\s*", part)
        if not found:
            raise UserError(
                f"filter '{text}': cannot read '{part}'; write COLUMN=VALUE, as in source=webcam,split=train"
            )
        column, operator, values = found.groups()
        if column not in FILTER_COLUMNS:
            raise UserError(f"filter '{text}': no column '{column}', choose from {', '.join(FILTER_COLUMNS)}")
        conditions.append((column, operator == "=", set(values.split("|"))))
    return lambda row: all((str(row.get(name)) in values) == wanted for name, wanted, values in conditions)
