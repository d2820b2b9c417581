"""The translator: signing to text; recordings of several requests in one batch, sorted by length."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from serve import metrics
from serve.scaling import WorkMeter
from signatlas.corpus.format import Clip
from signatlas.errors import CorpusError, FeatureError, PoseError, UserError
from signatlas.retrieval.queries import ClipReader, UnknownClip

if TYPE_CHECKING:
    from serve.config import TranslatorApplication
    from signatlas.models.translator.recordings import Recording

logger = logging.getLogger("ray.serve")
STUCK_S = 600.0  # a batch that takes longer makes the replica unhealthy
INPUTS = {"pose": "poses", "features": "features", "resnet": "images"}


class TranslationInput(NamedTuple):
    """Signing: poses float32 [frames, 75, 3] in image units, or the id of a clip of the training corpus.

    ``aspect`` is width/height of the image and ``fps`` the frame rate, where known.
    """

    poses: np.ndarray | None = None
    aspect: float | None = None
    source: str | None = None
    clip: str | None = None
    fps: float | None = None


class TranslationOptions(NamedTuple):
    """Options of the beam search, as of `signatlas translate`. Only requests with equal ones share a batch."""

    num_beams: int = 8
    n_best: int = 1
    max_new_tokens: int = 60
    length_penalty: float = 1.0


class TranslationResult(NamedTuple):
    """The ``n_best`` texts of one recording, the best first, and notes on frames that are not used."""

    texts: list[str]
    notes: list[str]


class DeadlinePassed(TimeoutError):
    """The time of a request ended before it was translated."""


class TranslationFailed(RuntimeError):
    """An internal error; the log has it."""


OnText = Callable[[str], None]  # gets the text so far
Result = TranslationResult | UserError | DeadlinePassed | TranslationFailed


@dataclass(eq=False)
class _Item:
    """A recording that waits for its batch; ``deadline`` and ``since`` are times of the event loop's clock."""

    recording: Recording
    options: TranslationOptions
    deadline: float | None
    future: asyncio.Future[Result]
    since: float

    @property
    def length(self) -> int:
        return int(self.recording.x.shape[1])


class Translator:
    """A replica of a translator.

    Recordings are read and translated in threads: the event loop stays free for health checks and for requests that
    arrive. One batch runs at a time; what arrives meanwhile becomes the next.
    """

    def __init__(self, application: TranslatorApplication):
        """Load the model. Raises UserError."""
        import torch

        from signatlas.models import Translator as Model
        from signatlas.models import load
        from signatlas.models.translator.recordings import RecordingReader

        self.name, self.options = application.name, application.translator
        torch.set_num_threads(self.options.threads)
        self.model = load(application.model, Model)
        self.clips = _open_corpus(self.model.record.get("corpus_path"), self.name)
        corpus = self.clips.corpus if self.clips else None
        self.reader = RecordingReader(application.model, self.model, corpus)
        self._move(application)
        self._description = _describe(application, self.model)
        self._meter = WorkMeter()
        self._pending: list[_Item] = []
        self._runner: asyncio.Task[None] | None = None
        self._batch_started: float | None = None

        def pool(threads: int) -> ThreadPoolExecutor:
            return ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(self.options.threads,))

        self._computing, self._reading = pool(1), pool(self.options.threads)

    def _move(self, application: TranslatorApplication) -> None:
        """Move the model and its sign encoders to the GPU where the options ask for one; load the sign encoders."""
        import torch

        use_gpu = self.options.choose_gpu(f"translator {self.name}", torch.cuda.is_available())
        device = "cuda" if use_gpu else "cpu"
        self.model.to(device)
        kind = self.reader.backbone.kind
        self._refusal = f"{self.name} reads images, not poses: name a clip of its corpus" if kind == "resnet" else None
        if kind == "features":
            try:
                for encoder in self.reader.sign_encoders.streams.values():
                    encoder.eval().to(device)
            except FeatureError as error:
                logger.warning("%s translates stored features only: %s", self.name, error)
                self._refusal = f"{self.name} reads stored features, not poses: name a clip of its corpus"

    async def translate(
        self,
        requests: Sequence[TranslationInput],
        options: TranslationOptions = TranslationOptions(),
        seconds: float | None = None,
    ) -> list[Result]:
        """Translate signing within ``seconds``; each result is a translation or the error of its own request.

        The texts are those of `signatlas translate`, whatever else is in their batches. Work that no batch has begun
        when its time ends, or when its caller leaves, is never computed.
        """
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        return list(await asyncio.gather(*(self._translate_one(r, options, deadline) for r in requests)))

    async def _translate_one(
        self, request: TranslationInput, options: TranslationOptions, deadline: float | None
    ) -> Result:
        loop = asyncio.get_running_loop()
        if _is_past(deadline):
            return _late()
        work = self._estimate(request)
        self._meter.add(work)
        try:
            async with asyncio.timeout_at(deadline):
                recording = await loop.run_in_executor(self._reading, self._read, request)
                item = _Item(recording, options, deadline, loop.create_future(), loop.time())
                self._meter.correct(item.length - work)
                work = item.length
                self._pending.append(item)
                if self._runner is None or self._runner.done():
                    self._runner = loop.create_task(self._run())
                return await item.future
        except TimeoutError:
            return _late()
        except UserError as error:
            return error
        except Exception:
            logger.exception("%s: a recording could not be translated", self.name)
            return TranslationFailed("the recording could not be translated; the server log has the details")
        finally:
            self._meter.remove(work)

    async def translate_stream(
        self, request: TranslationInput, options: TranslationOptions, seconds: float | None = None
    ) -> AsyncIterator[str | Result]:
        """Yield the text so far after each token, and then the result of :meth:`translate`, for one beam.

        The work ends at its next token when its time ends or its caller leaves.
        """
        loop = asyncio.get_running_loop()
        deadline = None if seconds is None else loop.time() + seconds
        texts: asyncio.Queue[str | None] = asyncio.Queue()
        ended = threading.Event()

        def on_text(text: str) -> None:
            if ended.is_set():
                raise DeadlinePassed
            loop.call_soon_threadsafe(texts.put_nowait, text)

        task = loop.create_task(self._translate_alone(request, options, deadline, on_text))
        task.add_done_callback(lambda _: texts.put_nowait(None))
        try:
            while (text := await texts.get()) is not None:
                if text:
                    yield text
            yield await task
        finally:
            ended.set()
            task.cancel()

    async def _translate_alone(
        self, request: TranslationInput, options: TranslationOptions, deadline: float | None, on_text: OnText
    ) -> Result:
        loop = asyncio.get_running_loop()
        work = self._estimate(request)
        self._meter.add(work)

        def compute(recording: Recording) -> Result:
            on_text("")  # its caller may have left while it waited for other batches
            return self._compute([recording], options, on_text)[0]

        try:
            async with asyncio.timeout_at(deadline):
                recording = await loop.run_in_executor(self._reading, self._read, request)
                return await loop.run_in_executor(self._computing, compute, recording)
        except TimeoutError:
            return _late()
        except UserError as error:
            return error
        except Exception:
            logger.exception("%s: a recording could not be translated", self.name)
            return TranslationFailed("the recording could not be translated; the server log has the details")
        finally:
            self._meter.remove(work)

    def _estimate(self, request: TranslationInput) -> int:
        """Return the length of a recording before it is read; that of a clip of the corpus is not known."""
        poses = request.poses
        return 0 if poses is None or poses.ndim == 0 else min(len(poses), self.reader.backbone.max_frames)

    def _read(self, request: TranslationInput) -> Recording:
        if request.poses is None:
            return self._read_clip(request.clip or "")
        if self._refusal:
            raise PoseError(self._refusal)
        clip = Clip("poses", "test", request.poses, "", request.source or "", fps=request.fps)
        return self.reader.read_poses(clip, request.aspect)

    def _read_clip(self, id: str) -> Recording:
        if self.clips is None:
            raise UnknownClip(f"{self.name} has no corpus here: send poses")
        if id not in self.clips:
            raise UnknownClip(f"no clip '{id[:100]}' in the corpus of {self.name}")
        return self.reader.read_clip(self.clips.clip(id))

    async def _run(self) -> None:
        """Translate what waits, batch by batch, until nothing does."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.options.batch_wait_timeout_s)
        while batch := self._next_batch():
            self._batch_started = started = time.monotonic()
            waited = loop.time() - min(item.since for item in batch)
            metrics.observe_batch(self.name, "translator", len(batch), waited)
            recordings = [item.recording for item in batch]
            results = await loop.run_in_executor(self._computing, self._compute, recordings, batch[0].options)
            self._batch_started = None
            self._meter.measure(sum(item.length for item in batch), time.monotonic() - started)
            for item, result in zip(batch, results, strict=True):
                if not item.future.done():
                    item.future.set_result(result)

    def _next_batch(self) -> list[_Item]:
        """Remove the oldest item and those with the same options that are nearest to it in length, sorted by length."""
        for item in self._pending:
            if not item.future.done() and _is_past(item.deadline):
                item.future.set_result(_late())
        # An item is also done when its caller was cancelled.
        self._pending = [item for item in self._pending if not item.future.done()]
        if not self._pending:
            return []
        oldest = self._pending[0]
        same = [item for item in self._pending if item.options == oldest.options]
        nearest = sorted(same, key=lambda item: abs(item.length - oldest.length))[: self.options.max_batch_size]
        batch = sorted(nearest, key=lambda item: item.length)
        self._pending = [item for item in self._pending if item not in batch]
        return batch

    def _compute(
        self, recordings: list[Recording], options: TranslationOptions, on_text: OnText | None = None
    ) -> list[Result]:
        """Translate recordings as one padded batch; where that fails, one by one, so that an error is of one only."""
        from signatlas.models.translator.inputs import pad

        try:
            texts = self.model.translate(
                [pad([recording.x[0] for recording in recordings])],
                beams=options.num_beams,
                best=options.n_best,
                max_new_tokens=options.max_new_tokens,
                length_penalty=options.length_penalty,
                on_text=on_text,
            )
        except DeadlinePassed:
            raise
        except Exception as error:
            if len(recordings) > 1:
                return [self._compute([recording], options)[0] for recording in recordings]
            if isinstance(error, UserError):
                return [error]
            logger.exception("%s: a recording could not be translated", self.name)
            return [TranslationFailed("the recording could not be translated; the server log has the details")]
        n = options.n_best
        return [TranslationResult(texts[i * n : (i + 1) * n], r.notes) for i, r in enumerate(recordings)]

    async def describe(self) -> dict[str, Any]:
        """Return name, language, input, parameters, weights (sha256) and training corpus of the model."""
        return dict(self._description)

    async def check_health(self) -> None:
        """Raise RuntimeError if a batch has been running for ten minutes."""
        started = self._batch_started
        if started is not None and time.monotonic() - started > STUCK_S:
            raise RuntimeError(f"{self.name}: a batch has been running for {time.monotonic() - started:.0f} s")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return queued frames or windows and how many are translated per second, for ``serve.scaling``."""
        return self._meter.stats()


def _is_past(deadline: float | None) -> bool:
    return deadline is not None and asyncio.get_running_loop().time() >= deadline


def _late() -> DeadlinePassed:
    return DeadlinePassed("the translation was not finished by the deadline: allow more time")


def _open_corpus(path: str | None, name: str) -> ClipReader | None:
    """Open the training corpus and read its ids; without it, the service translates poses only."""
    if not path:
        return None
    try:
        reader = ClipReader(path)
        "" in reader  # noqa: B015  reads the ids now, not at the first request
    except CorpusError as error:
        logger.warning("%s: no clips of the training corpus: %s", name, error)
        return None
    return reader


def _describe(application: TranslatorApplication, model: Any) -> dict[str, Any]:
    from pyarrow.fs import LocalFileSystem

    from signatlas.files import sha256_file
    from signatlas.models import folder

    path = Path(folder.locate(application.model))
    return {
        "name": application.name,
        "language": model.language_code,
        "input": INPUTS[model.config.sign.backbone.kind],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "weights": sha256_file(LocalFileSystem(), str(path / folder.WEIGHTS)),
        "training_corpus": model.record.get("corpus"),
    }
