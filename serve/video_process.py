"""A child process that decodes videos and detects poses: one that dies or hangs costs a single request.

The parent is :class:`VideoProcess`; the child is this module run as a program, with MediaPipe loaded and reset before
each video. They exchange messages over pipes: the length of a JSON object, the object, and as many further bytes as its
key ``bytes`` says. The parent never unpickles what the child sends: a video may have taken control of its decoder.
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from signatlas.corpus.extraction.recording import Options
from signatlas.pose.media import Limits
from signatlas.pose.skeleton import NUM_POINTS

START_S = 120.0  # to load MediaPipe, on a machine that is busy
MAX_HEADER = 64 << 10  # bytes of a JSON object
MEMORY_BYTES = 4 << 30  # address space of the child; MediaPipe needs about 1.1 GB of it
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "TZ", "SYSTEMROOT")
FRAME_BYTES = NUM_POINTS * 3 * 4


class VideoLimits(NamedTuple):
    """The longest and largest video: seconds, frames, and pixels of a frame."""

    seconds: float
    frames: int
    pixels: int


class VideoPoses(NamedTuple):
    """Poses float32 [frames, 75, 3] of a video in image units, with the size of its picture and its frame rate."""

    poses: np.ndarray
    width: int
    height: int
    fps: float | None


class VideoError(Exception):
    """A video that cannot be used, with the HTTP status that says so."""

    def __init__(self, status: int, detail: str):
        super().__init__(detail)
        self.status, self.detail = status, detail

    def __reduce__(self) -> tuple[type[VideoError], tuple[int, str]]:
        return type(self), (self.status, self.detail)


class ProcessDied(Exception):
    """The child ended while it worked; ``returncode`` is negative for a signal."""

    def __init__(self, returncode: int | None):
        super().__init__(f"the process that decodes videos ended with {returncode}")
        self.returncode = returncode


class Cancelled(Exception):
    """The parent asked to stop."""


@dataclass(frozen=True)
class UploadOptions(Options):
    """The options of `signatlas corpus extract`, with further limits that change no poses."""

    max_frames: int | None = None
    max_pixels: int | None = None

    @property
    def limits(self) -> Limits:
        """Limits for reading the video."""
        return Limits(self.max_side, self.max_seconds, self.max_frames, self.max_pixels)


class VideoProcess:
    """The parent's side. One thread calls :meth:`start` and :meth:`extract`; any may call the others."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES):
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._sending = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The id of the running child, None without one."""
        return self._process.pid if self.is_running else None  # type: ignore[union-attr]

    @property
    def is_running(self) -> bool:
        """Whether there is a child."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start a child unless one runs, and wait until it has loaded MediaPipe. Raises VideoError (503)."""
        if self.is_running:
            return
        self.kill()
        root = str(Path(__file__).parents[1])
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        environment["MALLOC_ARENA_MAX"] = "2"  # many cores would reserve much of the address space
        environment["PYTHONPATH"] = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        with self._lock:
            if self._closed:
                raise ProcessDied(None)
            self._process = subprocess.Popen(
                [sys.executable, "-m", __spec__.name, str(self._memory_bytes)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0,
            )  # fmt: skip
        timer = threading.Timer(START_S, self.kill)
        timer.start()
        try:
            message, _ = self._receive()
        except ProcessDied as error:
            raise VideoError(503, "MediaPipe cannot start here; the server log has the details") from error
        finally:
            timer.cancel()
        if message.get("type") != "ready":
            self.kill()
            raise VideoError(503, "MediaPipe cannot start here; the server log has the details")

    def extract(
        self, content: bytes, name: str, limits: VideoLimits, progress: Callable[[int, int | None], None]
    ) -> VideoPoses:
        """Return the poses of a video, equal to those that `signatlas corpus extract` writes.

        ``name`` is what messages call the file. ``progress`` is called with the number of each frame and the number
        that the file announces. Raises VideoError, ProcessDied, or Cancelled after :meth:`cancel`.
        """
        self._send({"type": "extract", "name": name, "limits": limits._asdict(), "bytes": len(content)}, content)
        while True:
            message, payload = self._receive(limits.frames * FRAME_BYTES)
            try:
                found = _understood(message, payload)
            except (KeyError, TypeError, ValueError):  # not what this module sends
                self.kill()
                raise ProcessDied(None) from None
            if isinstance(found, VideoPoses):
                return found
            if isinstance(found, Exception):
                raise found
            progress(*found)

    def cancel(self) -> None:
        """Ask the child to stop after the frame that it is at. One that has not taken its video yet is killed."""
        if not self._sending.acquire(blocking=False):
            self.kill()
            return
        try:
            if self.is_running:
                with suppress(ProcessDied):
                    self._write({"type": "cancel"})
        finally:
            self._sending.release()

    def kill(self) -> None:
        """End the child, whatever it does."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.wait()

    def close(self) -> None:
        """End the child for good."""
        self._closed = True
        self.kill()

    def _send(self, message: dict[str, Any], payload: bytes) -> None:
        with self._sending:
            self._write(message, payload)

    def _write(self, message: dict[str, Any], payload: bytes = b"") -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            _write(self._process.stdin.fileno(), message, payload)
        except (OSError, ValueError):
            raise self._died() from None

    def _receive(self, most: int = 0) -> tuple[dict[str, Any], bytes]:
        assert self._process is not None and self._process.stdout is not None
        try:
            received = _read(self._process.stdout.fileno(), most)
        except (OSError, ValueError):
            received = None
        if received is None:
            raise self._died()
        return received

    def _died(self) -> ProcessDied:
        """Return the error of a child whose pipe has ended, or that does not keep to the protocol."""
        assert self._process is not None
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self.kill()
        return ProcessDied(self._process.returncode)


def _understood(
    message: dict[str, Any], payload: bytes
) -> VideoPoses | VideoError | Cancelled | tuple[int, int | None]:
    """Return what a message says: poses, an error, or progress. Raises KeyError, TypeError or ValueError."""
    kind = message["type"]
    if kind == "progress":
        of = message["of"]
        return int(message["frames"]), None if of is None else int(of)
    if kind == "result":
        poses = np.frombuffer(payload, np.float32).reshape(-1, NUM_POINTS, 3)
        fps = message["fps"]
        return VideoPoses(poses, int(message["width"]), int(message["height"]), None if fps is None else float(fps))
    if kind == "error" and message["status"] in (413, 422):
        return VideoError(message["status"], str(message["detail"]))
    if kind == "cancelled":
        return Cancelled()
    raise ValueError(kind)


def _write(file: int, message: dict[str, Any], payload: bytes = b"") -> None:
    text = json.dumps(message).encode()
    for part in (struct.pack("<I", len(text)) + text, payload):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(file, rest) :]


def _read(file: int, most: int) -> tuple[dict[str, Any], bytes] | None:
    """Return a message and up to ``most`` further bytes, None at the end of the pipe. Raises ValueError."""
    length = _read_exactly(file, 4)
    if length is None:
        return None
    size = struct.unpack("<I", length)[0]
    if size > MAX_HEADER:
        raise ValueError("a header is too long")
    text = _read_exactly(file, size)
    if text is None:
        return None
    message = json.loads(text)
    if not isinstance(message, dict) or not 0 <= int(message.get("bytes", 0)) <= most:
        raise ValueError("a message is too long")
    payload = _read_exactly(file, int(message.get("bytes", 0)))
    return None if payload is None else (message, payload)


def _read_exactly(file: int, size: int) -> bytes | None:
    parts = []
    while size:
        part = os.read(file, min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


# The child


def main(memory_bytes: int) -> None:
    """Answer requests on stdin until it ends."""
    import resource

    from signatlas.pose.holistic import Holistic

    # What libraries print goes to the log: stdout is for messages.
    output = os.dup(1)
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    memory_bytes = memory_bytes if most == resource.RLIM_INFINITY else min(memory_bytes, most)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # also where this process is stopped
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    holistic = Holistic()
    _write(output, {"type": "ready"})
    while (received := _read(0, sys.maxsize)) is not None:
        message, content = received
        if message["type"] == "extract" and not _answer(output, holistic, message, content):
            holistic = Holistic()


def _end_with(parent: int) -> None:
    """End this process soon after its parent, also while a decoder is busy."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _answer(output: int, holistic: Any, message: dict[str, Any], content: bytes) -> bool:
    """Extract one video and send the result, or the reason why there is none.

    Returns False after an error that may have damaged the detector.
    """
    import tempfile

    from signatlas.errors import UserError
    from signatlas.pose.media import TooLargeError

    name, limits = message["name"], VideoLimits(**message["limits"])
    with tempfile.TemporaryFile() as file:  # without a name: gone with this process, whatever ends it
        file.write(content)
        file.flush()
        path = f"/dev/fd/{file.fileno()}"
        try:
            clip = _extract(output, holistic, path, limits)
        except Cancelled:
            _write(output, {"type": "cancelled"})
        except TooLargeError as error:
            _write(output, {"type": "error", "status": 413, "detail": error.excess.replace(path, name)})
        except UserError as error:
            _write(output, {"type": "error", "status": 422, "detail": str(error).replace(path, name)})
        except Exception:
            import traceback

            traceback.print_exc()
            detail = f"{name} cannot be extracted: record it again, or send poses"
            _write(output, {"type": "error", "status": 422, "detail": detail})
            return False
        else:
            poses = np.ascontiguousarray(clip.poses, np.float32)
            header = {"width": clip.width, "height": clip.height, "fps": clip.fps, "bytes": poses.nbytes}
            _write(output, {"type": "result", **header}, poses.tobytes())
    return True


def _extract(output: int, holistic: Any, path: str, limits: VideoLimits) -> Any:
    """Return the clip of a video, and report the number of each frame. Raises UserError, Cancelled."""
    from signatlas.corpus.extraction.recording import extract
    from signatlas.corpus.sources.base import Item
    from signatlas.pose.video import probe

    options = UploadOptions(max_seconds=limits.seconds, max_frames=limits.frames, max_pixels=limits.pixels)
    announced = probe(path, limits=options.limits).frames
    if announced is not None and announced > limits.frames:
        from signatlas.pose.media import TooLargeError

        raise TooLargeError(f"{path} has {announced:,} frames, more than {limits.frames:,}", "cut it")

    def progress(number: int) -> None:
        if select.select([0], [], [], 0)[0]:  # a cancellation, or the end of the parent
            raise Cancelled
        _write(output, {"type": "progress", "frames": number, "of": announced})

    item = Item(id="upload", media=path, sign_language="", source="")
    return extract(item, options, lambda: holistic, progress)


if __name__ == "__main__":
    main(int(sys.argv[1]))
