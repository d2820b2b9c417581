"""Embed a corpus with Ray Data: Parquet in, one unit vector and one metadata row a clip out."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from signatlas.corpus.format import METADATA_COLUMNS, Corpus, table_to_clips
from signatlas.errors import PoseError, UserError
from signatlas.models.sign_encoder import SignEncoder
from signatlas.pose.normalise import check
from signatlas.retrieval.snapshot import ROW_SCHEMA, as_rows

if TYPE_CHECKING:
    import ray.data

VECTOR = "vector"


class Embedder:
    """Turns Arrow batches of clips into Arrow batches of rows with vectors; one per Ray Data actor."""

    def __init__(self, model: str | os.PathLike[str], threads: int = 1):
        import torch

        torch.set_num_threads(threads)
        self.encoder = SignEncoder.from_pretrained(model)
        if torch.cuda.is_available():
            self.encoder.cuda()

    def __call__(self, table: pa.Table) -> pa.Table:
        clips = list(table_to_clips(table.combine_chunks()))
        for clip in clips:
            check(clip.poses, f"clip {clip.id}")
        vectors = self.encoder.embed_clips(clips)
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        return as_rows([table]).append_column(VECTOR, column)


def embedded(
    model: str | os.PathLike[str],
    corpus: Corpus,
    *,
    sources: tuple[str, ...] | None = None,
    splits: tuple[str, ...] | None = None,
    batch_size: int = 64,
    workers: int = 1,
    gpus: float = 0,
) -> ray.data.Dataset:
    """A lazy dataset of ``ROW_SCHEMA`` and ``vector`` (float32, fixed size); poses never leave the workers."""
    import ray.data
    from ray.data.expressions import col

    # The command shows a line of its own.
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = ray.data.read_parquet(corpus.files, columns=[*METADATA_COLUMNS, "poses"])
    for name, values in (("source", sources), ("split", splits)):
        if values:
            rows = rows.filter(expr=col(name).is_in(list(values)))
    return rows.map_batches(
        Embedder,
        fn_constructor_args=(os.path.abspath(model) if os.path.isdir(model) else model,),
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        num_gpus=gpus,
    )


def collect(dataset: ray.data.Dataset, progress: Callable[[int], Any] | None = None) -> tuple[np.ndarray, pa.Table]:
    """Vectors float32 [N, E] and rows of ``ROW_SCHEMA``; ``progress`` is called with the clips done so far.

    Holds 4 x E bytes and one metadata row a clip in this process. Raises PoseError with the id of an unusable clip.
    """
    vectors: list[np.ndarray] = []
    rows: list[pa.Table] = []
    done = 0
    for batch in _batches(dataset):
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


def _batches(dataset: ray.data.Dataset) -> Iterator[pa.Table]:
    """Batches of a dataset; a user's mistake found by a worker arrives as itself, not as Ray's report of it."""
    from ray.exceptions import RayError

    try:
        yield from dataset.iter_batches(batch_size=1024, batch_format="pyarrow")
    except RayError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if cause is None:
            raise
        raise PoseError(str(cause)) from None
