"""Extract clip features of continuous signing with a sliding sign classifier and Ray Data."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from signatlas.corpus.format import METADATA_COLUMNS, Clip, Corpus, table_to_clips
from signatlas.errors import FeatureError, PoseError
from signatlas.features import store, windows
from signatlas.models.sign_classifier import SignClassifier
from signatlas.pose.prepared_clips import PreparedClips
from trainers.pipelines.embed import problem_of

Progress = Callable[[int, int], Any]  # clips and windows done so far


class Slider:
    """Base of Ray Data actors that apply a sign classifier to sliding windows."""

    def __init__(self, model: str | os.PathLike[str], window: int, stride: int, limit: int | None, threads: int = 1):
        import torch

        torch.set_num_threads(threads)
        self.model = SignClassifier.from_pretrained(model)
        if torch.cuda.is_available():
            self.model.cuda()
        self.window, self.stride, self.limit = window, stride, limit

    def prepare(self, table: pa.Table) -> tuple[list[Clip], list[str | None], PreparedClips]:
        """Return the clips of the batch, the problem of each (or None), and the prepared usable clips."""
        clips = list(table_to_clips(table.combine_chunks()))
        # Errors are returned as values, since Ray Data would wrap an exception and bury its message.
        problems = [problem_of(clip) for clip in clips]
        usable = [clip for clip, problem in zip(clips, problems, strict=True) if problem is None]
        config = self.model.config
        if not usable:
            # PreparedClips needs at least one clip; a dummy clip keeps the shapes.
            usable = [Clip("", "train", np.zeros((1, 75, 3), np.float32), "", "")]
        return clips, problems, PreparedClips.from_clips(usable, config.points, config.aspect)


class FeatureSlider(Slider):
    """Maps Arrow batches of clips to `id`, `problem` and `features`: float16 [windows, width] as bytes."""

    def __call__(self, table: pa.Table) -> pa.Table:
        clips, problems, bank = self.prepare(table)
        clip_indices, first = windows.all_starts(bank.lengths, self.window, self.stride, self.limit)
        features = self.model.window_features(bank, clip_indices, first, window=self.window).astype(np.float16)
        parts = iter(np.split(features, np.flatnonzero(np.diff(clip_indices)) + 1))
        empty = features[:0]
        rows = [empty if problem else next(parts) for problem in problems]
        return pa.table(
            {
                "id": [clip.id for clip in clips],
                "problem": pa.array(problems, pa.string()),
                "features": pa.array([row.tobytes() for row in rows], pa.large_binary()),
            }
        )


def map_clips(
    corpus: Corpus,
    actor: type[Slider],
    arguments: tuple[Any, ...],
    *,
    splits: tuple[str, ...] = (),
    workers: int = 1,
    gpus: float = 0,
    batch_size: int = 32,
) -> Iterator[pa.Table]:
    """Yield the Arrow tables that actors ``actor(*arguments)`` return for the clips, roughly in corpus order.

    Poses stay on the workers. Raises PoseError for an unusable clip.
    """
    import ray.data
    from ray.data.expressions import col

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the command prints its own progress
    context.execution_options.preserve_order = True
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = ray.data.read_parquet(corpus.files)
    rows = rows.select_columns([name for name in rows.schema().names if name in (*METADATA_COLUMNS, "poses")])
    if splits:
        rows = rows.filter(expr=col("split").is_in(list(splits)))
    results = rows.map_batches(
        actor,
        fn_constructor_args=arguments,
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        num_gpus=gpus,
    )
    batch: Any  # a pyarrow table; Ray's type hint covers other formats too
    for batch in results.iter_batches(batch_size=256, batch_format="pyarrow"):
        for problem in batch["problem"].drop_null().to_pylist():
            raise PoseError(problem)
        yield batch


def in_order(pairs: Iterable[tuple[str, np.ndarray]], ids: Sequence[str]) -> Iterator[np.ndarray]:
    """Yield the arrays in the order of ``ids``, buffering early ones. Raises FeatureError if one is missing."""
    buffer: dict[str, np.ndarray] = {}
    remaining = iter(ids)
    next_id = next(remaining, None)
    for id, array in pairs:
        buffer[id] = array
        while next_id in buffer:
            yield buffer.pop(next_id)
            next_id = next(remaining, None)
    if next_id is not None:
        raise FeatureError(f"no features received for clip {next_id}: did the corpus change during extraction?")


def extract(
    models: Mapping[str, str],
    corpus: Corpus,
    out: str | os.PathLike[str],
    *,
    window: int | None = None,
    stride: int = 1,
    limit: int | None = 64,
    workers: int = 1,
    gpus: float = 0,
    threads: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> store.FeatureStore:
    """Extract clip features of a corpus with one model per stream (``agnostic``, ``aware``) and write them to ``out``.

    Needs an initialized Ray. ``window``: frames per window, by default those of the model. Raises UserError, and then
    writes nothing.
    """
    loaded = {stream: SignClassifier.from_pretrained(model) for stream, model in models.items()}
    widths = {stream: model.config.width for stream, model in loaded.items()}
    if len(set(widths.values())) > 1:
        raise FeatureError(
            f"streams of different widths {widths} cannot be combined: train both models with the same width"
        )
    frames = window or next(iter(loaded.values())).config.frames
    rows = corpus.metadata()
    counts = [len(windows.starts(row["num_frames"], frames, stride, limit)) for row in rows]
    ids = [row["id"] for row in rows]
    info = store.FeatureInfo(
        kind="windows", streams=tuple(models), width=next(iter(widths.values())), corpus=corpus.info.name,
        corpus_fingerprint=corpus.info.fingerprint, window=frames, stride=stride, limit=limit,
        made={stream: str(model.record.get("recipe", models[stream])) for stream, model in loaded.items()},
    )  # fmt: skip
    done = [0, 0]  # clips, windows

    def stream(name: str) -> Iterator[tuple[str, np.ndarray]]:
        arguments = (absolute_model(models[name]), frames, stride, limit, threads)
        for table in map_clips(corpus, FeatureSlider, arguments, workers=workers, gpus=gpus):
            for id, raw in zip(table["id"].to_pylist(), table["features"].to_pylist(), strict=True):
                yield id, np.frombuffer(raw, np.float16).reshape(-1, info.width)
                done[0], done[1] = done[0] + 1, done[1] + len(raw) // (2 * info.width)
            if progress:
                progress(done[0], done[1])

    streams = {name: in_order(stream(name), ids) for name in models}
    folders = {name: model for name, model in models.items() if os.path.isdir(model)}
    return store.write(out, info, ids, counts, streams, models=folders, overwrite=overwrite)


def absolute_model(model: str) -> str:
    """Return a Hub name as it is, and a folder as an absolute path."""
    return os.path.abspath(model) if os.path.isdir(model) else model
