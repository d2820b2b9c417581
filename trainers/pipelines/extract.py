"""Extract a listing with Ray Data: recordings in, a corpus out; what is finished survives every kill."""

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

ATTEMPTS = 3  # a recording in whose middle processes of this run ended this often is put aside
BLOCKS = 4096  # tasks that Ray Data plans at once; a task may hold several items, each is kept on its own
REPORT_FRAMES = 15
MENDED = "mend that on every machine of the cluster, then run the same command again; finished clips stay"


@dataclass(frozen=True)
class Progress:
    """How far it is: recordings finished now or earlier, of how many; frames done in this run."""

    done: int
    total: int
    frames: int


@dataclass(frozen=True)
class Extracted:
    """What :func:`run_listing` made. ``reused`` recordings were finished by an earlier run."""

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
) -> Extracted:
    """Extract every item into a corpus at ``out`` (folder or URI), in the order of the listing. Needs Ray.

    Finished clips are kept beside it until all are there, so that the same call goes on where one was stopped; the
    corpus is the same however often that happened and however many ``workers`` (default: one a CPU) there are.
    ``make_splits`` divides by :data:`signatlas.corpus.splits.RULE` instead of taking the items' splits. Recordings
    that cannot be used are listed in quarantine.jsonl and corpus.json. Raises CorpusError for an existing target, an
    id that occurs twice, a full disk, or when no recording can be used.
    """
    refuse(listing, out, overwrite)
    work = ExtractionStore.for_corpus(out)
    work.prepare()
    keys = [extraction_key(item, options) for item in listing]
    finished, refused = work.finished(), work.rejected()
    left = [(i, k) for i, k in zip(listing, keys, strict=True) if k not in finished and k not in refused]
    frames = _extract_all(left, work, options, workers, len(listing), progress) if left else 0
    corpus, quarantined = assemble_corpus(
        listing, keys, out, work, options, command=command, overwrite=overwrite, make_splits=make_splits, seed=seed
    )
    work.remove()
    return Extracted(corpus, quarantined, listing.missing, len(listing) - len(left), frames)


def refuse(listing: Listing, out: str | os.PathLike[str], overwrite: bool) -> None:
    if "://" in os.fspath(out) and "?" in os.fspath(out):
        raise CorpusError(f"{os.fspath(out)}: name the endpoint by AWS_ENDPOINT_URL, not after a question mark")
    store, root = filesystem(out)
    if not overwrite and store.get_file_info(root if "://" not in os.fspath(out) else f"{root}/corpus.json").type:
        raise CorpusError(f"{os.fspath(out)} already exists: choose another --out or pass --overwrite")
    twice = [id for id, number in Counter(item.id for item in listing).items() if number > 1]
    if twice:
        raise CorpusError(f"the id '{twice[0]}' occurs twice: give each recording its own")
    if not len(listing):
        raise CorpusError("no recording to extract: name videos, folders, or a manifest")


class _Unfit(UserError):
    """A machine on which no recording at all can be extracted."""


class Extractor:
    """Extracts one item a call; one per Ray Data actor, its models loaded when they are first needed."""

    def __init__(self, work: ExtractionStore, options: Options, meter: Any):
        self.work, self.options, self.meter = work, options, meter
        self.loaded: Holistic | None = None

    def holistic(self) -> Holistic:
        if self.loaded is None:
            try:
                self.loaded = Holistic(face=self.options.face)
            except Exception as error:
                raise _Unfit(f"MediaPipe Holistic cannot start ({_told(error)}): {MENDED}") from error
        return self.loaded

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        problems = [
            self._one(pickle.loads(item), str(typed), str(key))
            for item, typed, key in zip(batch["item"], batch["typed"], batch["key"], strict=True)
        ]
        return {"stop": np.array(problems, object)}

    def _one(self, item: Item, typed: str, key: str) -> str:
        """Empty, or why all must stop. Other problems put the recording, called as it was typed, into quarantine."""
        if self.work.is_done(key):
            return ""  # the actor that did it ended before Ray heard of it
        try:
            if self.work.start_attempt(key) >= ATTEMPTS:
                reason = f"{typed}: the process ended {ATTEMPTS} times while reading it; look at it"
                self.work.reject(key, reason, ChildProcessError)
            else:
                self._take(item, typed, key)
        except (StoreWriteError, _Unfit) as error:
            return str(error)
        return ""

    def _take(self, item: Item, typed: str, key: str) -> None:
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
        except (StoreWriteError, _Unfit):
            raise
        except ImportError as error:
            raise _Unfit(f"{typed} cannot be read here ({_told(error)}): {MENDED}") from error
        except UserError as error:
            self.work.reject(key, str(error).replace(item.media, typed), type(error))
        except Exception as error:  # whatever one file does to a decoder or detector, the others go on
            logging.exception("while extracting %s", typed)
            self.loaded = None
            self.work.reject(key, f"{typed} cannot be extracted ({_told(error)}); look at it", type(error))


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


class Meter:
    """Counts the frames of all actors."""

    def __init__(self) -> None:
        self.frames = 0

    def add(self, frames: int) -> None:
        self.frames += frames

    def total(self) -> int:
        return self.frames


def _extract_all(
    left: Sequence[tuple[Item, str]],
    work: ExtractionStore,
    options: Options,
    workers: int | None,
    total: int,
    progress: Callable[[Progress], Any] | None,
) -> int:
    """Have every item finished or refused in the work folder; returns the number of frames detected."""
    import ray
    import ray.data

    # The command shows a line of its own.
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    cores = int(ray.cluster_resources().get("CPU", 1))
    pool = max(1, min(workers or cores, len(left)))
    meter: Any = ray.remote(num_cpus=0)(Meter).remote()
    # The largest first, so that no worker is left alone with one at the end.
    ordered = sorted(left, key=lambda one: media_bytes(one[0].media), reverse=True)
    # Workers start in other folders, where a relative path would be another file.
    rows = [
        {"key": key, "typed": display_name(item.media), "item": pickle.dumps(replace(item, media=absolute(item.media)))}
        for item, key in ordered
    ]
    dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS)).map_batches(
        Extractor,
        fn_constructor_args=(work, options, meter),
        batch_size=1,
        batch_format="numpy",
        # A task more in an actor's queue would wait there while another actor has nothing to do.
        compute=ray.data.ActorPoolStrategy(size=pool, max_tasks_in_flight_per_actor=1),
        num_cpus=1,
    )
    with _watched(meter, total - len(left), total, progress) as watcher:
        for batch in dataset.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
            for problem in filter(None, batch["stop"]):
                raise CorpusError(problem)
            watcher.finished(len(batch["stop"]))
    return int(ray.get(meter.total.remote()))


class _watched:
    """Tells ``progress`` once a second, also while one long recording is at work."""

    def __init__(self, meter: Any, done: int, total: int, progress: Callable[[Progress], Any] | None):
        self.meter, self.done, self.total, self.progress = meter, done, total, progress
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def finished(self, number: int) -> None:
        self.done += number

    def _watch(self) -> None:
        while not self.ended.wait(1.0):
            self._tell()

    def _tell(self) -> None:
        import ray

        if self.progress is not None:
            self.progress(Progress(self.done, self.total, ray.get(self.meter.total.remote())))

    def __enter__(self) -> _watched:
        self.thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.ended.set()
        self.thread.join()
        if kind is None:
            self._tell()
