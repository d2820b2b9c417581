"""Slide a sign classifier over a corpus with Ray Data: Parquet in, clip features of continuous signing out."""

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
    """What each Ray Data actor holds: the model, and how windows lie."""

    def __init__(self, model: str | os.PathLike[str], window: int, stride: int, limit: int | None, threads: int = 1):
        import torch

        torch.set_num_threads(threads)
        self.model = SignClassifier.from_pretrained(model)
        if torch.cuda.is_available():
            self.model.cuda()
        self.window, self.stride, self.limit = window, stride, limit

    def prepare(self, table: pa.Table) -> tuple[list[Clip], list[str | None], PreparedClips]:
        """The batch's clips, what is wrong with each, and a bank of those that are right."""
        clips = list(table_to_clips(table.combine_chunks()))
        # An exception would lose its cause on the way through Ray Data, and its line among Ray's reports.
        problems = [problem_of(clip) for clip in clips]
        usable = [clip for clip, problem in zip(clips, problems, strict=True) if problem is None]
        config = self.model.config
        if not usable:
            # A bank of no clips has no array to cut from; one still clip keeps the shapes.
            usable = [Clip("", "train", np.zeros((1, 75, 3), np.float32), "", "")]
        return clips, problems, PreparedClips.from_clips(usable, config.points, config.aspect)


class FeatureSlider(Slider):
    """Arrow batches of clips to `id`, `problem`, `count`, and `features`: float16 [count, width] as bytes."""

    def __call__(self, table: pa.Table) -> pa.Table:
        clips, problems, bank = self.prepare(table)
        which, first = windows.all_starts(bank.lengths, self.window, self.stride, self.limit)
        found = self.model.window_features(bank, which, first, window=self.window).astype(np.float16)
        parts = iter(np.split(found, np.flatnonzero(np.diff(which)) + 1))
        empty = found[:0]
        rows = [empty if problem else next(parts) for problem in problems]
        return pa.table(
            {
                "id": [clip.id for clip in clips],
                "problem": pa.array(problems, pa.string()),
                "features": pa.array([row.tobytes() for row in rows], pa.large_binary()),
            }
        )


def over_clips(
    corpus: Corpus,
    actor: type[Slider],
    arguments: tuple[Any, ...],
    *,
    splits: tuple[str, ...] = (),
    workers: int = 1,
    gpus: float = 0,
    batch_size: int = 32,
) -> Iterator[pa.Table]:
    """Arrow tables of what ``actor``, made with ``arguments``, makes of the clips, about in the corpus's order.

    Poses never leave the workers. Raises PoseError for a clip that no model can look at.
    """
    import ray.data
    from ray.data.expressions import col

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the command shows a line of its own
    context.execution_options.preserve_order = True
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = ray.data.read_parquet(corpus.files)
    rows = rows.select_columns([name for name in rows.schema().names if name in (*METADATA_COLUMNS, "poses")])
    if splits:
        rows = rows.filter(expr=col("split").is_in(list(splits)))
    found = rows.map_batches(
        actor,
        fn_constructor_args=arguments,
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        num_gpus=gpus,
    )
    batch: Any  # a pyarrow table; Ray's hint says what other formats would give
    for batch in found.iter_batches(batch_size=256, batch_format="pyarrow"):
        for problem in batch["problem"].drop_null().to_pylist():
            raise PoseError(problem)
        yield batch


def in_order(pairs: Iterable[tuple[str, np.ndarray]], ids: Sequence[str]) -> Iterator[np.ndarray]:
    """The arrays in the order of ``ids``; early ones wait. Raises FeatureError when one never comes."""
    waiting: dict[str, np.ndarray] = {}
    expected = iter(ids)
    wanted = next(expected, None)
    for id, array in pairs:
        waiting[id] = array
        while wanted in waiting:
            yield waiting.pop(wanted)
            wanted = next(expected, None)
    if wanted is not None:
        raise FeatureError(f"no features came for clip {wanted}: is the corpus being rewritten?")


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
    """Clip features of a corpus, a stream a model (``agnostic``, ``aware``). Raises UserError; leaves nothing half.

    Needs an initialized Ray. ``window`` frames are by default as many as the model takes.
    """
    loaded = {stream: SignClassifier.from_pretrained(model) for stream, model in models.items()}
    widths = {stream: model.config.width for stream, model in loaded.items()}
    if len(set(widths.values())) > 1:
        raise FeatureError(f"streams of different widths {widths} cannot be mixed: train both models at one width")
    frames = window or next(iter(loaded.values())).config.frames
    rows = corpus.metadata()
    counts = [len(windows.starts(row["num_frames"], frames, stride, limit)) for row in rows]
    ids = [row["id"] for row in rows]
    info = store.FeatureInfo(
        kind="windows", streams=tuple(models), width=next(iter(widths.values())), corpus=corpus.info.name,
        corpus_fingerprint=corpus.info.fingerprint, window=frames, stride=stride, limit=limit,
        made={stream: str(model.record.get("recipe", models[stream])) for stream, model in loaded.items()},
    )  # fmt: skip
    done = [0, 0]

    def stream(name: str) -> Iterator[tuple[str, np.ndarray]]:
        arguments = (absolute_model(models[name]), frames, stride, limit, threads)
        for table in over_clips(corpus, FeatureSlider, arguments, workers=workers, gpus=gpus):
            for id, raw in zip(table["id"].to_pylist(), table["features"].to_pylist(), strict=True):
                yield id, np.frombuffer(raw, np.float16).reshape(-1, info.width)
                done[0], done[1] = done[0] + 1, done[1] + len(raw) // (2 * info.width)
            if progress:
                progress(done[0], done[1])

    streams = {name: in_order(stream(name), ids) for name in models}
    folders = {name: model for name, model in models.items() if os.path.isdir(model)}
    return store.write(out, info, ids, counts, streams, models=folders, overwrite=overwrite)


def absolute_model(model: str) -> str:
    """The same folder or Hub name, seen from any folder."""
    return os.path.abspath(model) if os.path.isdir(model) else model
