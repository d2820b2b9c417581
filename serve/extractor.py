"""The pose extractor: uploaded videos to poses, one at a time in each replica, in a child process that may die."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from serve.errors import Problem, service_unavailable, shown
from serve.scaling import WorkMeter
from serve.video_process import ProcessDied, VideoError, VideoLimits, VideoPoses, VideoProcess

logger = logging.getLogger("ray.serve")
USUAL_FRAMES = 100  # of a video, before the first was counted
REPORT_S = 0.2  # between two reports of progress
CANCEL_S = 2.0  # the child has this long to stop at its next frame; then it is killed
STUCK_S = 60.0  # a child that neither answers nor starts again this long after a deadline makes the replica unhealthy


class Video(NamedTuple):
    """An uploaded video: its content, what messages call it, and its limits."""

    content: bytes
    name: str
    limits: VideoLimits


class Progress(NamedTuple):
    """Frames whose poses are known, and how many the file announces, if it does."""

    frames: int
    of: int | None


class Extractor:
    """A replica of the pose extractor.

    Videos wait for their turn; what nobody waits for any more, because its time ended or its client left, is not begun,
    or stops at its next frame. After its child died the replica starts another one: the next video finds it loaded.
    """

    def __init__(self, process: VideoProcess | None = None):
        self.process = process or VideoProcess()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="video")
        self._turn = asyncio.Lock()
        self._meter = WorkMeter()
        self._frames = float(USUAL_FRAMES)  # of recent videos, on average
        self._restarting: asyncio.Task[None] | None = None
        self._late_since: float | None = None

    async def start(self) -> None:
        """Start the child. Raises Problem (503) where MediaPipe cannot start."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self.process.start)
        except (VideoError, ProcessDied) as error:
            raise service_unavailable(str(error)) from error

    def close(self) -> None:
        """End the child and the thread."""
        self.process.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def extract(self, video: Video, seconds: float) -> VideoPoses:
        """Return the poses of a video, equal to those of `signatlas corpus extract`.

        Raises Problem: 413 beyond its limits, 422 for a file that cannot be used, 503 when the child was killed, 504
        after ``seconds``.
        """
        return await self._extract(video, seconds, lambda progress: None)

    async def extract_with_progress(self, video: Video, seconds: float) -> AsyncIterator[Progress | VideoPoses]:
        """Yield progress, several times a second at most, and then the poses. Raises as :meth:`extract` does."""
        latest: asyncio.Queue[Progress | None] = asyncio.Queue()
        task = asyncio.ensure_future(self._extract(video, seconds, latest.put_nowait))
        task.add_done_callback(lambda _: latest.put_nowait(None))
        reported = 0.0
        try:
            while (progress := await latest.get()) is not None:
                if time.monotonic() - reported >= REPORT_S:
                    reported = time.monotonic()
                    yield progress
            yield await task
        finally:
            task.cancel()

    async def _extract(self, video: Video, seconds: float, report: Callable[[Progress], None]) -> VideoPoses:
        work = self._frames
        self._meter.add(work)
        try:
            async with asyncio.timeout(seconds), self._turn:
                return await self._run(video, report)
        except TimeoutError:
            detail = f"the poses of {shown(video.name)} were not extracted by the deadline: cut it, or allow more time"
            raise Problem(504, detail) from None
        except VideoError as error:
            if error.status == 503:
                raise service_unavailable(error.detail) from None
            raise Problem(error.status, shown(error.detail, 300)) from None
        except ProcessDied as error:
            raise _died(error, video.name) from None
        finally:
            self._meter.remove(work)

    async def _run(self, video: Video, report: Callable[[Progress], None]) -> VideoPoses:
        """Extract a video in the child. Call it in turn."""
        loop = asyncio.get_running_loop()
        started = time.monotonic()

        def progress(frames: int, of: int | None) -> None:
            loop.call_soon_threadsafe(report, Progress(frames, of))

        def work() -> VideoPoses:
            self.process.start()
            return self.process.extract(*video, progress)

        call = self._thread.submit(work)
        future = asyncio.wrap_future(call)
        try:
            poses = await asyncio.shield(future)
        except asyncio.CancelledError:
            if not call.cancel():  # it has begun
                await self._stop(future)
            raise
        except ProcessDied:
            self._restart()
            raise
        self._frames = 0.8 * self._frames + 0.2 * len(poses.poses)
        self._meter.measure(len(poses.poses), time.monotonic() - started)
        return poses

    async def _stop(self, future: asyncio.Future[VideoPoses]) -> None:
        """Stop the video in the child, whose turn ends when this returns."""
        if not future.done():
            self._late_since = time.monotonic()
            self.process.cancel()
            await asyncio.wait([future], timeout=CANCEL_S)
            if not future.done():
                self.process.kill()
                await asyncio.wait([future])
            self._late_since = None
        if not future.cancelled() and isinstance(future.exception(), ProcessDied):
            self._restart()

    def _restart(self) -> None:
        """Start the child again, so that the next video need not wait for it."""

        async def start() -> None:
            try:
                await self.start()
            except Problem as problem:
                logger.error("%s", problem.detail)

        self._restarting = asyncio.ensure_future(start())

    async def describe(self) -> dict[str, str]:
        """Return which detector this is."""
        from signatlas.pose.holistic import DETECTOR

        return {"detector": DETECTOR}

    async def check_health(self) -> None:
        """Raise RuntimeError if the child cannot be ended."""
        late = self._late_since
        if late is not None and time.monotonic() - late > STUCK_S:
            raise RuntimeError("the process that decodes videos does not end")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return queued frames, estimated, and how many are processed per second, for ``serve.scaling``."""
        return self._meter.stats()


def _died(error: ProcessDied, name: str) -> Problem:
    logger.warning("%s", error)
    if error.returncode is None or error.returncode == -signal.SIGKILL:  # by the system, as a rule
        return service_unavailable("the process that decodes videos was ended: try again")
    return Problem(422, f"the decoder ended while it read {shown(name)}: record it again, or send poses")
