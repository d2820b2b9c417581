"""Embed the clips of a corpus with Ray Data."""

from __future__ import annotations

import logging
import operator
import os
from collections.abc import Callable, Iterable
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from signatlas.corpus.format import METADATA_COLUMNS, Clip, Corpus, table_to_clips
from signatlas.errors import PoseError
from signatlas.models.sign_encoder import SignEncoder
from signatlas.pose.attributes import attributes
from signatlas.pose.normalize import check
from signatlas.retrieval.index_version import ROW_SCHEMA, as_rows, with_attributes

if TYPE_CHECKING:
    import ray.data

VECTOR, MIRRORED, PROBLEM = "vector", "mirrored", "problem"


class Embedded(NamedTuple):
    """Vectors float32 [N, E] and rows [N] of ``ROW_SCHEMA``; by id, the vectors [E] of some of the clips mirrored."""

    vectors: np.ndarray
    rows: pa.Table
    mirrored: dict[str, np.ndarray]


class Embedder:
    """Ray Data actor that maps Arrow batches of clips to metadata rows with vectors.

    Clips in ``mirrored`` are also embedded as a signer of the other hand would perform them.
    """

    def __init__(self, model: str | os.PathLike[str], mirrored: frozenset[str] = frozenset(), threads: int = 1):
        import torch

        torch.set_num_threads(threads)
        self.mirrored = mirrored
        self.encoder = SignEncoder.from_pretrained(model)
        if torch.cuda.is_available():
            self.encoder.cuda()

    def __call__(self, table: pa.Table) -> pa.Table:
        clips = list(table_to_clips(table.combine_chunks()))
        # Errors are returned as values, since Ray Data would wrap an exception and bury its message.
        problems = [problem_of(clip) for clip in clips]
        vectors = self._embed(clips, [n for n, problem in enumerate(problems) if problem is None], problems)
        both = [n for n, clip in enumerate(clips) if clip.id in self.mirrored and vectors[n] is not None]
        mirrored = self._embed(clips, both, problems, mirror=True)
        rows = with_attributes(as_rows([table]), [attributes(c.poses, c.width, c.height) for c in clips])
        width = pa.list_(pa.float32(), self.encoder.config.embedding)
        for name, values in ((VECTOR, vectors), (MIRRORED, mirrored)):
            rows = rows.append_column(name, pa.array(values, width))
        return rows.append_column(PROBLEM, pa.array(problems, pa.string()))

    def _embed(
        self, clips: list[Clip], numbers: list[int], problems: list[str | None], *, mirror: bool = False
    ) -> list[np.ndarray | None]:
        """Return the vectors of the clips with these numbers, None for others; writes to ``problems``."""
        vectors: list[np.ndarray | None] = [None] * len(clips)
        try:
            embedded = self.encoder.embed_clips([clips[n] for n in numbers], mirror=mirror)
            for n, vector in zip(numbers, embedded, strict=True):
                vectors[n] = vector
        except PoseError as error:
            if len(numbers) == 1:
                problems[numbers[0]] = f"clip {clips[numbers[0]].id}: {error}"
                return vectors
            for n in numbers:  # find the clip
                vectors[n] = self._embed(clips, [n], problems, mirror=mirror)[n]
        return vectors


def problem_of(clip: Clip) -> str | None:
    """Return why a clip cannot be encoded, or None if it can."""
    try:
        check(clip.poses, f"clip {clip.id}")
    except PoseError as error:
        return str(error)
    return None


def embed(
    model: str | os.PathLike[str],
    corpus: Corpus,
    *,
    sources: tuple[str, ...] | None = None,
    splits: tuple[str, ...] | None = None,
    mirrored: Iterable[str] = (),
    batch_size: int = 64,
    workers: int = 1,
    gpus: float = 0,
) -> ray.data.Dataset:
    """Return a lazy dataset of ``ROW_SCHEMA``, ``vector`` and ``mirrored`` (float32, fixed size), and ``problem``.

    It has the clips of these sources and splits and those whose ids are in ``mirrored``. Other clips have a null there,
    a clip that cannot be embedded has a problem instead of vectors. Poses stay on the workers.
    """
    import ray.data
    from ray.data.expressions import col

    ray.data.DataContext.get_current().enable_progress_bars = False  # the command prints its own progress
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = ray.data.read_parquet(corpus.files)
    rows = rows.select_columns([name for name in rows.schema().names if name in (*METADATA_COLUMNS, "poses")])
    both = frozenset(mirrored)
    conditions = [col(name).is_in(list(values)) for name, values in (("source", sources), ("split", splits)) if values]
    if conditions:
        wanted = reduce(operator.and_, conditions)
        rows = rows.filter(expr=wanted | col("id").is_in(sorted(both)) if both else wanted)
    return rows.map_batches(
        Embedder,
        fn_constructor_args=(os.path.abspath(model) if os.path.isdir(model) else model, both),
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        num_gpus=gpus,
    )


def collect(dataset: ray.data.Dataset, progress: Callable[[int], Any] | None = None) -> Embedded:
    """Return the vectors and rows of a dataset of :func:`embed`; ``progress`` receives the number of clips so far.

    Needs 4 x E bytes and one metadata row per clip in this process. Raises PoseError for an unusable clip.
    """
    vectors: list[np.ndarray] = []
    rows: list[pa.Table] = []
    mirrored: dict[str, np.ndarray] = {}
    done = 0
    batch: Any  # a pyarrow table; Ray's type hint covers other formats too
    for batch in dataset.iter_batches(batch_size=1024, batch_format="pyarrow"):
        for problem in batch[PROBLEM].drop_null().to_pylist():
            raise PoseError(problem)
        vectors.append(_matrix(batch[VECTOR]))
        rows.append(as_rows([batch]))
        both = batch.filter(batch[MIRRORED].is_valid())
        if len(both):
            mirrored.update(zip(both["id"].to_pylist(), _matrix(both[MIRRORED]), strict=True))
        done += len(batch)
        if progress:
            progress(done)
    if not rows:
        return Embedded(np.zeros((0, 1), np.float32), ROW_SCHEMA.empty_table(), {})
    return Embedded(np.concatenate(vectors), as_rows(rows), mirrored)


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of lists of one size as float32 [N, E]."""
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float32).reshape(len(column), -1)
