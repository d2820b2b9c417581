"""Compose a corpus of continuous signing with Ray Data."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pyarrow as pa

from signatlas.corpus.format import SCHEMA, Clip, Corpus, clips_to_table, table_to_clips, write_corpus
from signatlas.corpus.sentences import Sentence
from signatlas.synthetic.composition.composer import Composer
from signatlas.synthetic.composition.corpora import Plan, frame_counts

BATCH = 32
ROW = pa.schema(
    [("frames", pa.int32()), *((name, SCHEMA.field(name).type) for name in ("id", "split", "glosses", "texts"))]
)


@lru_cache(maxsize=1)
def _composer(parts: Any) -> Composer:
    """Return the composer of this worker process, from the parts in the object store."""
    import ray

    lexicon, settings, words = ray.get(parts)
    return Composer(lexicon, settings, words)


def _compose_batch(table: pa.Table, parts: list[Any]) -> pa.Table:
    composer = _composer(parts[0])
    return clips_to_table([composer.compose(_sentence(row)) for row in table.to_pylist()])


def compose(
    plan: Plan,
    out: str | os.PathLike[str],
    *,
    workers: int = 2,
    overwrite: bool = False,
    progress: Callable[[int], Any] | None = None,
) -> Corpus:
    """Compose every sentence of ``plan`` and write the corpus ``out``; the result does not depend on ``workers``.

    Needs a connected Ray. Raises CorpusError before the work starts if a sentence cannot be signed.
    """
    composer = Composer(plan.lexicon, plan.settings, plan.words)
    for sentence in plan.sentences:
        composer.check(sentence)
    lengths: dict[str, int] = {}
    provenance = dict(plan.info.made)

    def clips() -> Iterator[Clip]:
        for clip in _compose_clips(plan, workers):
            lengths[clip.id] = clip.num_frames
            yield clip
            if progress:
                progress(len(lengths))
        provenance["frames"] = frame_counts(plan, lengths)  # corpus.json is written after the last clip

    return write_corpus(out, replace(plan.info, made=provenance), clips(), overwrite=overwrite)


def _compose_clips(plan: Plan, workers: int) -> Iterator[Clip]:
    import ray
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the command prints its own progress
    context.execution_options.preserve_order = True
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    parts = ray.put((plan.lexicon, plan.settings, dict(plan.words)))
    rows = pa.Table.from_pylist([_row(sentence) for sentence in plan.sentences], schema=ROW)
    blocks = [rows.slice(start, BATCH) for start in range(0, len(rows), BATCH)]
    clips = ray.data.from_arrow(blocks).map_batches(
        _compose_batch,  # type: ignore[arg-type]  # Ray's type hint omits fn_kwargs
        fn_kwargs={"parts": [parts]},  # inside a list, Ray passes the reference instead of a copy per task
        batch_format="pyarrow",
        batch_size=None,
        concurrency=workers,
        num_cpus=1,
    )
    for table in clips.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from table_to_clips(table)


def _row(sentence: Sentence) -> dict[str, Any]:
    texts = [{"language": tag, "text": text} for tag, text in sentence.texts]
    return {**vars(sentence), "glosses": list(sentence.glosses), "texts": texts}


def _sentence(row: dict[str, Any]) -> Sentence:
    texts = tuple((text["language"], text["text"]) for text in row["texts"])
    return Sentence(**{**row, "glosses": tuple(row["glosses"]), "texts": texts})
