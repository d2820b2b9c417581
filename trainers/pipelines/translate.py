"""Translate a corpus with Ray Data: batches of clip ids in, texts and vectors out, on all workers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from signatlas.errors import ModelError, UserError
from signatlas.evaluation.translations.decoding import Batch, Decoded, Decoder, DecodingJob, absolute_name
from signatlas.files import absolute

BLOCKS = 2000  # more batches than this share a block of Ray Data


class Worker:
    """What each Ray Data actor holds: a decoder. Arrow rows of batches in, rows of answers out."""

    def __init__(self, job: DecodingJob):
        self.decoder = Decoder(job)

    def __call__(self, table: pa.Table) -> pa.Table:
        answers = [self._answer(row) for row in table.to_pylist()]
        schema = pa.schema(
            [("number", pa.int64()), ("problem", pa.string()), ("texts", pa.list_(pa.string())),
             ("width", pa.int64()), ("vectors", pa.large_binary())]
        )  # fmt: skip
        return pa.Table.from_pylist(answers, schema)

    def _answer(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            found = self.decoder(Batch(row["ids"], row["translate"]))
        except UserError as error:
            # An exception would lose its cause on the way through Ray Data, and its line among Ray's reports.
            return {"number": row["number"], "problem": str(error), "texts": [], "width": 1, "vectors": b""}
        vectors = np.ascontiguousarray(found.vectors, np.float32)
        return {
            "number": row["number"], "problem": None, "texts": found.texts, "width": vectors.shape[1],
            "vectors": vectors.tobytes(),
        }  # fmt: skip


def spread(
    job: DecodingJob, wanted: Sequence[Batch], workers: int | None = None, address: str | None = None
) -> Iterator[tuple[Batch, Decoded]]:
    """Answers to batches as they come, in any order, from ``workers`` actors, by default one a CPU or GPU but one.

    Joins a cluster (``address``, RAY_ADDRESS) or starts a local Ray. Raises UserError.
    """
    import ray

    from cluster.connect import connected

    with connected(address, num_cpus=None if workers is None else workers + 1, worker_logs=False):
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        count = workers or gpus or max(1, int(resources["CPU"]) - 1)
        job = replace(job, model=absolute_name(job.model), corpus=absolute(job.corpus), threads=job.threads or 1,
                       features=absolute(job.features) if job.features else None,
                       frames=absolute(job.frames) if job.frames else None)  # fmt: skip
        for row in _answers(job, wanted, min(count, max(1, len(wanted))), 1 if gpus >= count else 0):
            if row["problem"]:
                raise ModelError(row["problem"])
            batch = wanted[row["number"]]
            vectors = np.frombuffer(row["vectors"], np.float32).reshape(-1, row["width"])
            yield batch, Decoded(batch.ids, row["texts"], vectors)


def _answers(job: DecodingJob, wanted: Sequence[Batch], workers: int, gpus: float) -> Iterator[dict[str, Any]]:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the command shows a line of its own
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = [{"number": n, "ids": list(batch.ids), "translate": batch.translate} for n, batch in enumerate(wanted)]
    if not rows:
        return
    asked = ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS))
    found = asked.map_batches(
        Worker,
        fn_constructor_args=(job,),
        batch_format="pyarrow",
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        num_gpus=gpus,
    )
    batch: Any  # a pyarrow table; Ray's hint says what other formats would give
    for batch in found.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0):
        yield from batch.to_pylist()
