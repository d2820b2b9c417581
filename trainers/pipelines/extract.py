"""Extract recordings into a corpus with Ray Data; interrupted runs resume with the finished clips."""

from __future__ import annotations

import logging
import os
import pickle
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from signatlas.corpus.extraction.assembly import Quarantined, assemble_corpus
from signatlas.corpus.extraction.extraction_store import ExtractionStore, StoreWriteError
from signatlas.corpus.extraction.recording import Options, extract, extraction_key, media_bytes
from signatlas.corpus.format import Corpus
from signatlas.corpus.sources.base import Item, Listing, Missing
from signatlas.errors import CorpusError, UserError
from signatlas.files import absolute, filesystem
from signatlas.pose.holistic import Holistic
from signatlas.pose.media import display_name

ATTEMPTS = 3  # a recording is quarantined if the process died this often while extracting it
BLOCKS = 4096  # maximum tasks that Ray Data plans; a task may have several items, each saved separately
REPORT_FRAMES = 15  # frames between reports of an actor
FIX_MACHINES = "fix this on every machine of the cluster, then run the same command again; finished clips are kept"


@dataclass(frozen=True)
class Progress:
    """Progress: finished recordings (earlier runs included), all recordings, and frames of this run."""

    done: int
    total: int
    frames: int


@dataclass(frozen=True)
class ExtractionResult:
    """Result of :func:`run_listing`. ``reused`` recordings were finished by an earlier run."""

    corpus: Corpus
    quarantined: tuple[Quarantined, ...]
    missing: tuple[Missing, ...]
    reused: int
    frames: int


def run_listing(
    listing: Listing,
    out: str | os.PathLike[str],
    *,
    options: Options = Options(),
    command: str = "signatlas corpus extract",
    workers: int | None = None,
    overwrite: bool = False,
    make_splits: bool = False,
    seed: int = 0,
    progress: Callable[[Progress], Any] | None = None,
) -> ExtractionResult:
    """Extract every item into a corpus at ``out`` (folder or URI), in the order of the listing. Needs Ray.

    Finished clips are stored next to ``out`` until all are done, so that the same call resumes an interrupted run. The
    corpus does not depend on interruptions or on ``workers`` (default: one per CPU). ``make_splits`` splits by
    :data:`signatlas.corpus.splits.RULE` instead of the items' splits. Unusable recordings are listed in
    quarantine.jsonl and corpus.json. Raises CorpusError for an existing target, a duplicate id, a full disk, or if no
    recording can be used.
    """
    check_request(listing, out, overwrite)
    work = ExtractionStore.for_corpus(out)
    work.prepare()
    keys = [extraction_key(item, options) for item in listing]
    finished, rejected = work.finished(), work.rejected()
    pending = [(i, k) for i, k in zip(listing, keys, strict=True) if k not in finished and k not in rejected]
    frames = _extract_all(pending, work, options, workers, len(listing), progress) if pending else 0
    corpus, quarantined = assemble_corpus(
        listing, keys, out, work, options, command=command, overwrite=overwrite, make_splits=make_splits, seed=seed
    )
    work.remove()
    return ExtractionResult(corpus, quarantined, listing.missing, len(listing) - len(pending), frames)


def check_request(listing: Listing, out: str | os.PathLike[str], overwrite: bool) -> None:
    """Raise CorpusError for an invalid or existing target, a duplicate id or an empty listing."""
    if "://" in os.fspath(out) and "?" in os.fspath(out):
        raise CorpusError(f"{os.fspath(out)}: set the endpoint with AWS_ENDPOINT_URL, not in the URI")
    store, root = filesystem(out)
    if not overwrite and store.get_file_info(root if "://" not in os.fspath(out) else f"{root}/corpus.json").type:
        raise CorpusError(f"{os.fspath(out)} already exists: choose another --out or pass --overwrite")
    duplicates = [id for id, number in Counter(item.id for item in listing).items() if number > 1]
    if duplicates:
        raise CorpusError(f"the id '{duplicates[0]}' occurs twice: give each recording its own id")
    if not len(listing):
        raise CorpusError("no recording to extract: pass videos, folders or a manifest")


class _MachineError(UserError):
    """A problem of this machine, on which no recording can be extracted."""


class Extractor:
    """Ray Data actor that extracts one item per call; its models are loaded on first use."""

    def __init__(self, work: ExtractionStore, options: Options, meter: Any):
        self.work, self.options, self.meter = work, options, meter
        self._holistic: Holistic | None = None

    def holistic(self) -> Holistic:
        """Return the pose detector. Raises _MachineError if MediaPipe cannot start."""
        if self._holistic is None:
            try:
                self._holistic = Holistic(face=self.options.face)
            except Exception as error:
                raise _MachineError(f"MediaPipe Holistic cannot start ({_summary(error)}): {FIX_MACHINES}") from error
        return self._holistic

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        problems = [
            self._process(pickle.loads(item), str(name), str(key))
            for item, name, key in zip(batch["item"], batch["name"], batch["key"], strict=True)
        ]
        return {"stop": np.array(problems, object)}

    def _process(self, item: Item, name: str, key: str) -> str:
        """Extract an item and return why the run must stop, or an empty string.

        Other problems put the recording into quarantine, under ``name``, its path as the user wrote it.
        """
        if self.work.is_done(key):
            return ""  # the actor that finished it died before Ray received the result
        try:
            if self.work.start_attempt(key) >= ATTEMPTS:
                reason = f"{name}: the process died {ATTEMPTS} times while reading it; inspect the file"
                self.work.reject(key, reason, ChildProcessError)
            else:
                self._extract(item, name, key)
        except (StoreWriteError, _MachineError) as error:
            return str(error)
        return ""

    def _extract(self, item: Item, name: str, key: str) -> None:
        reported = 0

        def progress(number: int) -> None:
            nonlocal reported
            if number - reported >= REPORT_FRAMES:
                self.meter.add.remote(number - reported)
                reported = number

        try:
            clip = extract(item, self.options, self.holistic, progress)
            self.work.commit(key, clip)
            self.meter.add.remote(clip.num_frames - reported)
        except (StoreWriteError, _MachineError):
            raise
        except ImportError as error:
            raise _MachineError(f"{name} cannot be read here ({_summary(error)}): {FIX_MACHINES}") from error
        except UserError as error:
            self.work.reject(key, str(error).replace(item.media, name), type(error))
        except Exception as error:  # a decoder or detector error of one file must not stop the others
            logging.exception("while extracting %s", name)
            self._holistic = None
            self.work.reject(key, f"{name} cannot be extracted ({_summary(error)}); inspect the file", type(error))


def _summary(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


class Meter:
    """Ray actor that counts the frames of all extractors."""

    def __init__(self) -> None:
        self.frames = 0

    def add(self, frames: int) -> None:
        self.frames += frames

    def total(self) -> int:
        return self.frames


def _extract_all(
    pending: Sequence[tuple[Item, str]],
    work: ExtractionStore,
    options: Options,
    workers: int | None,
    total: int,
    progress: Callable[[Progress], Any] | None,
) -> int:
    """Extract or reject every pending item and return the number of processed frames."""
    import ray
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False  # the command prints its own progress
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    cores = int(ray.cluster_resources().get("CPU", 1))
    pool = max(1, min(workers or cores, len(pending)))
    meter: Any = ray.remote(num_cpus=0)(Meter).remote()
    # Largest first, so that the last recordings are short and all workers finish together.
    ordered = sorted(pending, key=lambda pair: media_bytes(pair[0].media), reverse=True)
    # Workers have other working directories, so paths must be absolute.
    rows = [
        {"key": key, "name": display_name(item.media), "item": pickle.dumps(replace(item, media=absolute(item.media)))}
        for item, key in ordered
    ]
    dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS)).map_batches(
        Extractor,
        fn_constructor_args=(work, options, meter),
        batch_size=1,
        batch_format="numpy",
        # A queued task would wait for its actor even if another actor is idle.
        compute=ray.data.ActorPoolStrategy(size=pool, max_tasks_in_flight_per_actor=1),
        num_cpus=1,
    )
    with _ProgressReporter(meter, total - len(pending), total, progress) as reporter:
        for batch in dataset.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
            for problem in filter(None, batch["stop"]):
                raise CorpusError(problem)
            reporter.finished(len(batch["stop"]))
    return int(ray.get(meter.total.remote()))


class _ProgressReporter:
    """Calls ``progress`` once a second, also during long recordings."""

    def __init__(self, meter: Any, done: int, total: int, progress: Callable[[Progress], Any] | None):
        self.meter, self.done, self.total, self.progress = meter, done, total, progress
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def finished(self, number: int) -> None:
        self.done += number

    def _run(self) -> None:
        while not self.ended.wait(1.0):
            self._report()

    def _report(self) -> None:
        import ray

        if self.progress is not None:
            self.progress(Progress(self.done, self.total, ray.get(self.meter.total.remote())))

    def __enter__(self) -> _ProgressReporter:
        self.thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.ended.set()
        self.thread.join()
        if kind is None:
            self._report()
