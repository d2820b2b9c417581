"""Clips as vectors: embedding by a model or by keypoints, similarities, and filters of clips."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from signatlas.errors import UserError
from signatlas.pose import skeleton as sk

if TYPE_CHECKING:
    from signatlas.corpus.format import Clip

Row = dict[str, Any]
RowFilter = Callable[[Row], bool]
FILTER_COLUMNS = ("id", "split", "signer", "signer_kind", "sign_language", "gloss", "source")
# Of the keypoint baseline: legs do not sign, and z is missing in 2-D corpora.
BASELINE_POINTS = np.r_[0 : sk.RIGHT_WRIST + 1, sk.LEFT_HAND, sk.RIGHT_HAND]


class Encoder(Protocol):
    """A model that embeds clips as unit vectors float32 [N, D], such as signatlas.models.SignEncoder."""

    def embed_clips(self, clips: Iterable[Clip], *, mirror: bool = False, batch_size: int = 256) -> np.ndarray: ...


@dataclass(frozen=True)
class Space:
    """Rows of metadata (at least ``id`` and ``gloss``) with vectors [N, D].

    ``mirrored`` [N, D] holds the vectors of the mirrored clips, None where they were not computed. Vectors of cosine
    spaces have unit length.
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
        """Return one metadata column, object [N]."""
        return np.array([row.get(name) for row in self.rows], dtype=object)

    def where(self, keep: RowFilter) -> Space:
        """Return the clips whose rows ``keep`` accepts."""
        selected = [i for i, row in enumerate(self.rows) if keep(row)]
        mirrored = None if self.mirrored is None else self.mirrored[selected]
        return Space([self.rows[i] for i in selected], self.vectors[selected], mirrored, self.similarity)

    def swap_mirrored(self) -> Space:
        """Return the space of the mirrored clips, as a left-handed signer would sign them."""
        if self.mirrored is None:
            raise ValueError("this space has no mirrored vectors: embed with mirror=True")
        return Space(self.rows, self.mirrored, self.vectors, self.similarity)

    def with_vectors(self, vectors: np.ndarray) -> Space:
        """Return the same clips with other vectors."""
        return Space(self.rows, vectors, None, self.similarity)


def embed(encoder: Encoder, clips: Iterable[Clip], *, mirror: bool = False, chunk: int = 512) -> Space:
    """Return the cosine space of ``clips``; with ``mirror`` it has mirrored vectors too.

    Holds the poses of ``chunk`` clips in memory at a time. Raises PoseError for an invalid clip and UserError for no
    clips.
    """
    rows: list[Row] = []
    plain: list[np.ndarray] = []
    mirrored: list[np.ndarray] = []
    for part in batched(clips, chunk):
        rows += [row_of(clip) for clip in part]
        plain.append(encoder.embed_clips(part))
        if mirror:
            mirrored.append(encoder.embed_clips(part, mirror=True))
    if not rows:
        raise UserError("no clip to embed: the corpus has none of the clips that this protocol needs")
    return Space(rows, np.concatenate(plain), np.concatenate(mirrored) if mirror else None)


def batched(clips: Iterable[Clip], size: int) -> Iterator[list[Clip]]:
    """Yield lists of up to ``size`` clips."""
    stream = iter(clips)
    while part := list(islice(stream, size)):
        yield part


def row_of(clip: Clip) -> Row:
    """Return the metadata of a clip that filters and rankings read."""
    return {name: getattr(clip, name) for name in FILTER_COLUMNS}


def similarities(queries: Space, gallery: Space) -> np.ndarray:
    """Return float32 [Q, G], higher is more similar: cosine, or minus the squared Euclidean distance."""
    products = queries.vectors @ gallery.vectors.T
    if queries.similarity == "cosine":
        return products.astype(np.float32)
    lengths = (queries.vectors**2).sum(1)[:, None] + (gallery.vectors**2).sum(1)[None]
    return (2 * products - lengths).astype(np.float32)


def parse_filter(text: str) -> RowFilter:
    """Return the filter of rows that a text such as ``source=webcam,split=train|dev,gloss!=haus`` describes.

    Conditions are joined by commas (and), values by ``|`` (or). Raises UserError for invalid text.
    """
    conditions: list[tuple[str, bool, set[str]]] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\w+)\s*(!?=)\s*(.*?)\s*", part)
        if not match:
            raise UserError(
                f"filter '{text}': cannot read '{part}'; write COLUMN=VALUE, as in source=webcam,split=train"
            )
        column, operator, values = match.groups()
        if column not in FILTER_COLUMNS:
            raise UserError(f"filter '{text}': no column '{column}', choose from {', '.join(FILTER_COLUMNS)}")
        conditions.append((column, operator == "=", set(values.split("|"))))
    return lambda row: all((str(row.get(name)) in values) == equal for name, equal, values in conditions)


# --- the baseline without learning: nearest neighbor on normalized keypoints


@dataclass(frozen=True)
class KeypointEncoder:
    """Clips as vectors float32 [N, frames * 59 * 2]: x and y of normalized, interpolated, resampled keypoints.

    A point that a clip never has is zero. Compare by Euclidean distance, as :func:`keypoint_space` does.
    """

    frames: int = 32
    aspect: Mapping[str, float] = field(default_factory=dict)  # by source, as in the model it is compared with

    def embed_clips(self, clips: Iterable[Clip], *, mirror: bool = False, batch_size: int = 256) -> np.ndarray:
        """Return float32 [N, frames * 59 * 2]."""
        return np.stack([self._vector(clip, mirror) for clip in clips])

    def _vector(self, clip: Clip, mirror: bool) -> np.ndarray:
        from signatlas.pose import normalize as norm
        from signatlas.pose.prepared_clips import clip_aspect

        points = norm.normalize(clip.poses, clip_aspect(clip, self.aspect))
        points = norm.mirror(points) if mirror else points
        return norm.fixed_length(norm.fill(points[:, BASELINE_POINTS]).coordinates, self.frames)[..., :2].reshape(-1)


def keypoint_space(clips: Iterable[Clip], *, mirror: bool = False, aspect: Mapping[str, float] | None = None) -> Space:
    """Return the space of :class:`KeypointEncoder`, searched by Euclidean distance."""
    return replace(embed(KeypointEncoder(aspect=aspect or {}), clips, mirror=mirror), similarity="euclidean")
