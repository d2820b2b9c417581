"""Embed the clips of a corpus with Ray Data."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from signatlas.corpus.format import METADATA_COLUMNS, Clip, Corpus, table_to_clips
from signatlas.errors import PoseError
from signatlas.models.sign_encoder import SignEncoder
from signatlas.pose.normalize import check
from signatlas.retrieval.index_version import ROW_SCHEMA, as_rows

if TYPE_CHECKING:
    import ray.data

VECTOR, PROBLEM = "vector", "problem"


class Embedder:
    """Ray Data actor that maps Arrow batches of clips to metadata rows with vectors.

    ``sides`` says for each vector of a clip whether it is that of the mirrored clip.
    """

    def __init__(self, model: str | os.PathLike[str], sides: tuple[bool, ...] = (False,), threads: int = 1):
        import torch

        torch.set_num_threads(threads)
        self.sides = sides
        self.encoder = SignEncoder.from_pretrained(model)
        if torch.cuda.is_available():
            self.encoder.cuda()

    def __call__(self, table: pa.Table) -> pa.Table:
        clips = list(table_to_clips(table.combine_chunks()))
        # Errors are returned as values, since Ray Data would wrap an exception and bury its message.
        problems = [problem_of(clip) for clip in clips]
        usable = [n for n, problem in enumerate(problems) if problem is None]
        vectors = np.full((len(clips), len(self.sides) * self.encoder.config.embedding), np.nan, np.float32)
        try:
            vectors[usable] = self._embed([clips[n] for n in usable])
        except PoseError:
            for n in usable:  # which of them gives no finite embedding
                try:
                    vectors[n] = self._embed([clips[n]])[0]
                except PoseError as error:
                    problems[n] = f"clip {clips[n].id}: {error}"
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        rows = as_rows([table]).append_column(VECTOR, column)
        return rows.append_column(PROBLEM, pa.array(problems, pa.string()))

    def _embed(self, clips: list[Clip]) -> np.ndarray:
        """Return float32 [N, S * E], the vectors of the sides one after another."""
        return np.concatenate([self.encoder.embed_clips(clips, mirror=side) for side in self.sides], axis=1)


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
    ids: tuple[str, ...] | None = None,
    sides: tuple[bool, ...] = (False,),
    batch_size: int = 64,
    workers: int = 1,
    gpus: float = 0,
) -> ray.data.Dataset:
    """Return a lazy dataset of ``ROW_SCHEMA``, ``vector`` (float32, fixed size) and ``problem`` (null if encoded).

    ``sides`` (mirrored or not) puts S vectors of a clip one after another. Poses stay on the workers.
    """
    import ray.data
    from ray.data.expressions import col

    ray.data.DataContext.get_current().enable_progress_bars = False  # the command prints its own progress
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = ray.data.read_parquet(corpus.files)
    rows = rows.select_columns([name for name in rows.schema().names if name in (*METADATA_COLUMNS, "poses")])
    for name, values in (("source", sources), ("split", splits), ("id", ids)):
        if values:
            rows = rows.filter(expr=col(name).is_in(list(values)))
    return rows.map_batches(
        Embedder,
        fn_constructor_args=(os.path.abspath(model) if os.path.isdir(model) else model, sides),
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        num_gpus=gpus,
    )


def collect(dataset: ray.data.Dataset, progress: Callable[[int], Any] | None = None) -> tuple[np.ndarray, pa.Table]:
    """Return vectors float32 [N, S * E] and rows of ``ROW_SCHEMA``; ``progress`` receives the number of clips so far.

    Needs 4 x S x E bytes and one metadata row per clip in this process. Raises PoseError for an unusable clip.
    """
    vectors: list[np.ndarray] = []
    rows: list[pa.Table] = []
    done = 0
    batch: Any  # a pyarrow table; Ray's type hint covers other formats too
    for batch in dataset.iter_batches(batch_size=1024, batch_format="pyarrow"):
        for problem in batch[PROBLEM].drop_null().to_pylist():
            raise PoseError(problem)
        column = batch[VECTOR].combine_chunks()
        flat = column.flatten().to_numpy(zero_copy_only=False)
        vectors.append(np.asarray(flat, np.float32).reshape(len(batch), -1))
        rows.append(as_rows([batch]))
        done += len(batch)
        if progress:
            progress(done)
    if not rows:
        return np.zeros((0, 1), np.float32), ROW_SCHEMA.empty_table()
    return np.concatenate(vectors), as_rows(rows)
