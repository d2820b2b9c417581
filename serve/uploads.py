"""Uploaded recordings as queries: a .pose file is parsed here, a video goes to the pose extractor."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve.errors import Problem, service_unavailable, shown
from serve.extractor import Progress, Video
from serve.replicas import LOST, Deadline, ask_replicas, result_of, stream_of
from serve.schemas import PosesQuery
from serve.video_process import VideoLimits, VideoPoses
from signatlas.pose.serialization import parse_pose

if TYPE_CHECKING:
    from serve.config import ExtractorOptions, Limits
    from serve.events import Emit
    from serve.request_body import Upload

NO_VIDEO = (
    "is not a .pose file, and this service takes no video: start it with --video, or with an extractor in serve.yaml"
)
LOST_DETAIL = "the pose extractor has too much to do or restarts: try again"
LATE_DETAIL = "the poses of the video were not extracted by the deadline: cut it, or allow more time"


class Uploads:
    """Turns uploads into queries. ``extractor`` is the handle of the pose extractor, None without one."""

    def __init__(self, limits: Limits, options: ExtractorOptions | None = None, extractor: Any = None):
        self.limits, self.options, self.extractor = limits, options, extractor

    def check(self, upload: Upload) -> float:
        """Return the longest time that the request may take, in seconds; 0 for that of other requests.

        Raises a 415 Problem for a video where there is no extractor.
        """
        if _is_poses(upload):
            return 0.0
        if self.extractor is None:
            raise Problem(415, f"'{shown(upload.name)}' {NO_VIDEO}")
        return self.limits.video_deadline_s

    async def query(self, upload: Upload, deadline: Deadline, emit: Emit | None) -> tuple[PosesQuery, dict[str, float]]:
        """Return the query of an upload, and how long the stage ``extract`` took where there was one, in milliseconds.

        Raises Problem: 413, 422, 503 or 504; PoseError for a damaged .pose file.
        """
        if _is_poses(upload):
            pose_file = await asyncio.to_thread(parse_pose, upload.content, "the file")
            return _query(*pose_file), {}
        started = time.monotonic()
        limits = VideoLimits(self.limits.video_seconds, self.limits.frames, self.limits.video_pixels)
        video = Video(upload.content, upload.name or "the file", limits)
        try:
            async with asyncio.timeout(deadline.require()):
                found = await self._extract(video, deadline, emit)
        except TimeoutError:
            raise Problem(504, LATE_DETAIL) from None
        except LOST as error:
            raise service_unavailable(LOST_DETAIL, 2) from error
        return _query(found.poses, found.fps, found.width, found.height), {
            "extract": 1e3 * (time.monotonic() - started)
        }

    async def _extract(self, video: Video, deadline: Deadline, emit: Emit | None) -> VideoPoses:
        if emit is None:
            # Not hedged: under load a second call would double the work.
            found: VideoPoses = await ask_replicas(
                lambda seconds: self.extractor.extract.remote(video, seconds), deadline.require(), None
            )
            return found
        await emit("progress", {"stage": "extract", "frames": 0, "of": None})
        handle = self.extractor.options(stream=True)
        poses: VideoPoses | None = None
        async with aclosing(stream_of(handle.extract_with_progress.remote(video, deadline.require()))) as items:
            async for item in items:
                if isinstance(item, Progress):
                    await emit("progress", {"stage": "extract", "frames": item.frames, "of": item.of})
                else:
                    poses = item
        if poses is None:
            raise service_unavailable(LOST_DETAIL, 2)
        return poses

    async def readiness(self, seconds: float) -> list[str]:
        """Return what is missing. An extractor that may scale to zero is ready without replicas."""
        if self.extractor is None or self.options is None:
            return []
        if (self.options.autoscaling_config or {}).get("min_replicas") == 0:
            return []
        try:
            await asyncio.wait_for(result_of(self.extractor.describe.remote()), seconds)
        except Exception as error:
            return [f"the pose extractor does not answer ({type(error).__name__})"]
        return []


def _is_poses(upload: Upload) -> bool:
    return Path(upload.name).suffix.lower() == ".pose"


def _query(poses: Any, fps: float | None, width: int, height: int) -> PosesQuery:
    return PosesQuery.model_construct(
        poses=poses, width=width, height=height, fps=fps, source=None, language=None
    )  # fmt: skip
