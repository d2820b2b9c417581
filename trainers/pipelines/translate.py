"""Translate a corpus with Ray Data on all workers."""

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

BLOCKS = 2000  # maximum blocks of Ray Data; more batches share blocks


class DecodingActor:
    """Ray Data actor that maps Arrow rows of batches to rows of decoded texts and vectors."""

    def __init__(self, job: DecodingJob):
        self.decoder = Decoder(job)

    def __call__(self, table: pa.Table) -> pa.Table:
        results = [self._decode(row) for row in table.to_pylist()]
        schema = pa.schema(
            [("number", pa.int64()), ("problem", pa.string()), ("texts", pa.list_(pa.string())),
             ("width", pa.int64()), ("vectors", pa.large_binary())]
        )  # fmt: skip
        return pa.Table.from_pylist(results, schema)

    def _decode(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            decoded = self.decoder(Batch(row["ids"], row["translate"]))
        except UserError as error:
            # Errors are returned as values, since Ray Data would wrap an exception and bury its message.
            return {"number": row["number"], "problem": str(error), "texts": [], "width": 1, "vectors": b""}
        vectors = np.ascontiguousarray(decoded.vectors, np.float32)
        return {
            "number": row["number"], "problem": None, "texts": decoded.texts, "width": vectors.shape[1],
            "vectors": vectors.tobytes(),
        }  # fmt: skip


def decode_with_ray(
    job: DecodingJob, batches: Sequence[Batch], workers: int | None = None, address: str | None = None
) -> Iterator[tuple[Batch, Decoded]]:
    """Yield batches with their results, in any order, from ``workers`` actors.

    By default one actor per GPU, or per CPU but one. Joins a cluster (``address``, RAY_ADDRESS) or starts a local Ray.
    Raises UserError.
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
        for row in _decoded_rows(job, batches, min(count, max(1, len(batches))), 1 if gpus >= count else 0):
            if row["problem"]:
                raise ModelError(row["problem"])
            batch = batches[row["number"]]
            vectors = np.frombuffer(row["vectors"], np.float32).reshape(-1, row["width"])
            yield batch, Decoded(batch.ids, row["texts"], vectors)


def _decoded_rows(job: DecodingJob, batches: Sequence[Batch], workers: int, gpus: float) -> Iterator[dict[str, Any]]:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the command prints its own progress
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = [{"number": n, "ids": list(batch.ids), "translate": batch.translate} for n, batch in enumerate(batches)]
    if not rows:
        return
    dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS))
    results = dataset.map_batches(
        DecodingActor,
        fn_constructor_args=(job,),
        batch_format="pyarrow",
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        num_gpus=gpus,
    )
    batch: Any  # a pyarrow table; Ray's type hint covers other formats too
    for batch in results.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0):
        yield from batch.to_pylist()
