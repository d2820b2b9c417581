"""Read frames of a video or a folder of images, one at a time, local or in an object store (PyAV, Pillow)."""

from __future__ import annotations

import math
import os
from bisect import insort
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from signatlas.errors import MediaError
from signatlas.files import filesystem
from signatlas.pose.media import (
    Limits,
    Media,
    TimedFrames,
    TooLargeError,
    UnreachableError,
    crop,
    display_name,
    exactly,
    limit_length,
    nearest,
)

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    Opened = tuple[InputContainer, VideoStream]

# Container formats of recordings. FFmpeg also reads playlists, scripts and subtitles, which can open other files.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,gif,m4v,h264,hevc,nut,dv,ivf,mjpeg"
SEEK_BACK = (0.0, 2.0, 10.0)  # seconds; an index in decoding order may lead to a key frame after the target


def probe(path: str | os.PathLike[str], *, fps: float | None = None, limits: Limits = Limits()) -> Media:
    """Return the metadata of a video, or of a folder of images at ``fps``. Decodes one frame.

    Raises MediaError when it is missing, empty, not a video, without frames, or larger than ``limits.side``.
    """
    if _is_folder(path):
        from signatlas.pose import images

        return images.probe(path, fps, limits)
    with _open_video(path, limits) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise MediaError(f"{display_name(path)} contains no decodable frame: record or download it again")
        rate = stream.average_rate or stream.guessed_rate
        length = None
        if stream.duration is not None and stream.time_base is not None:
            length = float(stream.duration * stream.time_base)
        pixel_aspect = float(stream.sample_aspect_ratio or 1) or 1.0
        size, display_size = (first.width, first.height), (round(first.width * pixel_aspect), first.height)
        if first.rotation % 180:
            size, display_size = size[::-1], display_size[::-1]
        return Media(
            os.fspath(path),
            float(rate) if rate else None,
            *size,
            _announced_frames(stream, length, rate),
            length,
            display_size,
        )


def _announced_frames(stream: VideoStream, length: float | None, rate: Fraction | None) -> int | None:
    """Return the frames that a container announces, without those hidden by an edit list, as in losslessly cut MP4s."""
    if not stream.frames or "mp4" not in stream.container.format.name:
        return stream.frames or None
    indexed = sum(not entry.is_discard for entry in getattr(stream, "index_entries", ()))  # since PyAV 16
    return min(stream.frames, indexed or round((length or 0) * (rate or 0)) or stream.frames)


def count_frames(
    path: str | os.PathLike[str], seconds: tuple[float, float], *, limits: Limits = Limits()
) -> int | None:
    """Return the number of frames of a video that begin within ``seconds`` (from, to), from its packets, not decoded.

    Exact for variable frame rates too. None for a folder, a file without timestamps, or a recording that ends more than
    two frames before the span does. Raises MediaError for an unreadable file.
    """
    if _is_folder(path):
        return None
    with _open_video(path, limits) as (container, stream):
        origin, base = stream.start_time or 0, stream.time_base
        if base is None:
            return None
        begin, end = (origin + math.ceil(exactly(at) / base) for at in seconds)
        target = _seek_target(path, begin, limits) if begin > origin else None
        if target is not None:
            container.seek(target, stream=stream, backward=True)
        number, last = 0, origin
        for packet in container.demux(stream):
            if not packet.size or packet.is_discard:
                continue
            if packet.pts is None:
                return None
            number += begin <= packet.pts < end
            last = max(last, packet.pts + (packet.duration or 0))
            if packet.dts is not None and packet.dts >= end:
                break
        return number if last >= end - 2 / ((stream.average_rate or Fraction(25)) * base) else None


def frames(
    path: str | os.PathLike[str],
    *,
    span: tuple[int, int] | None = None,
    seconds: tuple[float, float] | None = None,
    target_fps: float | None = None,
    box: tuple[int, int, int, int] | None = None,
    fps: float | None = None,
    limits: Limits = Limits(),
) -> Reader:
    """Return an iterator over the upright frames, uint8 RGB [height, width, 3]; only one is in memory at a time.

    ``span`` (first frame, frame after the last) or ``seconds`` (from, to) select a part, exactly and without decoding
    anything before its key frame. ``target_fps`` takes the frame nearest to each tick of that rate, each at most once;
    slower recordings keep all frames. ``box`` (left, top, right, bottom, in pixels) crops. ``fps`` is the frame rate of
    a folder of images. May yield fewer frames than announced: compare ``Reader.read`` with :func:`probe`.

    Raises MediaError where :func:`probe` does, for damaged files, spans outside the recording, empty crops, and
    recordings longer than ``limits.seconds``.
    """
    name = display_name(path)
    if span is not None and not 0 <= span[0] < span[1]:
        raise MediaError(f"{name}: the span {span[0]}-{span[1]} is empty: give a first frame before the end frame")
    if seconds is not None and not 0 <= seconds[0] < seconds[1]:
        raise MediaError(f"{name}: the time span {seconds[0]}-{seconds[1]} s is empty: give a start before the end")
    if target_fps is not None and not 0 < target_fps <= 1000:
        raise MediaError(
            f"{target_fps} frames per second is out of range: give a number between 0 and 1000, such as 25"
        )
    if _is_folder(path):
        from signatlas.pose import images

        timed = images.timed_frames(path, span, seconds, fps, limits, needs_fps=target_fps is not None)
    else:
        timed = _timed_frames(path, span, seconds, limits)
    return Reader(limit_length(timed, limits, name), name, target_fps, box)


class Reader(Iterator[np.ndarray]):
    """An iterator over frames; ``read`` is the number of frames read so far, before resampling."""

    def __init__(self, timed: TimedFrames, name: str, target_fps: float | None, box: tuple[int, int, int, int] | None):
        self.read = 0
        counted = self._count_frames(timed)
        self._images = self._decode_frames(
            counted if target_fps is None else nearest(counted, exactly(target_fps)), name
        )
        self._box, self._name = box, name

    def __next__(self) -> np.ndarray:
        image = next(self._images)
        return image if self._box is None else crop(image, self._box, self._name)

    def _count_frames(self, timed: TimedFrames) -> TimedFrames:
        for frame in timed:
            self.read += 1
            yield frame

    def _decode_frames(self, timed: TimedFrames, name: str) -> Iterator[np.ndarray]:
        shape: tuple[int, ...] | None = None
        for _, decode in timed:
            image = decode()
            if shape is not None and image.shape != shape:
                old, new = (f"{width}x{height}" for height, width in (shape[:2], image.shape[:2]))
                raise MediaError(f"{name} changes from {old} to {new} pixels: cut it there")
            shape = image.shape
            yield image
        if shape is None:
            raise MediaError(f"{name} contains no decodable frame in this span: check its length and the span")


def _is_folder(path: str | os.PathLike[str]) -> bool:
    import pyarrow as pa
    from pyarrow.fs import FileType

    name = display_name(path)
    try:
        store, inner = filesystem(path)
        file = store.get_file_info(inner)
    except (OSError, pa.ArrowException) as error:
        raise UnreachableError(
            f"{name} cannot be reached ({_reason(error)}): check the address and your access"
        ) from error
    if file.type == FileType.NotFound:
        raise MediaError(f"{name} is missing: check the path")
    if file.type == FileType.File and file.size == 0:
        raise MediaError(f"{name} is empty (0 bytes): download it again")
    return bool(file.type == FileType.Directory)


@contextmanager
def _open_video(path: str | os.PathLike[str], limits: Limits) -> Iterator[Opened]:
    """Yield a container and its video stream; errors of FFmpeg inside the block become MediaErrors."""
    import av

    name, container = display_name(path), None
    try:
        store, inner = filesystem(path)
        options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
        with (
            store.open_input_file(inner) as file,
            av.open(file, buffer_size=1 << 20, container_options=options, metadata_errors="replace") as container,
        ):
            yield container, _stream(container, limits, name)
    except (av.FFmpegError, OSError, EOFError, ValueError) as error:
        if isinstance(error, OSError) and not isinstance(error, av.FFmpegError):
            raise UnreachableError(
                f"{name} cannot be read ({_reason(error)}): check disk, address and access"
            ) from error
        if container is None:
            raise MediaError(f"{name} is not a readable video ({_reason(error)}): check the file") from error
        raise MediaError(f"{name} is damaged ({_reason(error)}): record or download it again") from error


def _stream(container: InputContainer, limits: Limits, name: str) -> VideoStream:
    import av

    # Cover art of audio files is a video stream too.
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        raise MediaError(f"{name} has no video stream: give a file with video")
    stream = streams[0]
    if stream.codec_context is None:
        raise MediaError(f"{name} has a video stream in an unknown format: convert it, for example to H.264 in MP4")
    _check_size(stream.width, stream.height, limits, name)
    stream.codec_context.thread_count = 1  # many recordings are read in parallel
    stream.codec_context.options = {"max_pixels": str(limits.frame_pixels)}
    return stream


def _check_size(width: int, height: int, limits: Limits, name: str) -> None:
    if max(width, height) > limits.side:
        raise TooLargeError(f"{name} has {width}x{height} pixels, more than {limits.side} per side", "resize it first")
    if width * height > limits.frame_pixels:
        raise TooLargeError(
            f"{name} has {width}x{height} pixels, more than {limits.frame_pixels:,} per frame", "resize it first"
        )


def _reason(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]


def _timed_frames(
    path: str | os.PathLike[str],
    span: tuple[int, int] | None,
    seconds: tuple[float, float] | None,
    limits: Limits,
) -> TimedFrames:
    """Yield the frames of the span, located by timestamp, or by counting in files without timestamps."""
    begin, end, number = None, None, 0
    if span is not None:
        begin, end = _timestamps(path, span, limits)
    with _open_video(path, limits) as (container, stream):
        origin = stream.start_time or 0
        if seconds is not None and stream.time_base is not None:
            begin, end = (origin + math.ceil(exactly(at) / stream.time_base) for at in seconds)
        target = _seek_target(path, begin, limits) if begin is not None and begin > origin else None
        if target is not None:
            container.seek(target, stream=stream, backward=True)
        step = 1 / (stream.average_rate or stream.guessed_rate or Fraction(25))
        for frame in container.decode(stream):
            _check_size(frame.width, frame.height, limits, display_name(path))
            at, number = number, number + 1
            if frame.pts is not None and stream.time_base is not None and (span is None or begin is not None):
                if begin is not None and frame.pts < begin:
                    continue
                if end is not None and frame.pts >= end:
                    return
                yield (frame.pts - origin) * stream.time_base, _Decoder(frame)
            elif _is_inside(at, step, span, seconds):
                yield at * step, _Decoder(frame)


def _is_inside(number: int, step: Fraction, span: tuple[int, int] | None, seconds: tuple[float, float] | None) -> bool:
    if span is not None:
        return span[0] <= number < span[1]
    return seconds is None or exactly(seconds[0]) <= number * step < exactly(seconds[1])


class _Decoder:
    """Converts a frame to an upright RGB array when called."""

    def __init__(self, frame: VideoFrame):
        self.frame = frame

    def __call__(self) -> np.ndarray:
        image: np.ndarray[Any, Any] = self.frame.to_ndarray(format="rgb24")
        turns = round(self.frame.rotation / 90) % 4  # degrees counter-clockwise
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _timestamps(
    path: str | os.PathLike[str], span: tuple[int, int], limits: Limits
) -> tuple[int, int | None] | tuple[None, None]:
    """Return the timestamps of the first frame of ``span`` and of the frame after the last, from packets, not decoded.

    Exact for variable frame rates too. (None, None) for a file without timestamps.
    """
    first, end = span
    timestamps: list[int] = []
    with _open_video(path, limits) as (container, stream):
        for packet in container.demux(stream):
            if not packet.size or packet.is_discard:
                continue
            if packet.pts is None:
                return None, None
            insort(timestamps, packet.pts)
            # Packets come in decoding order: no later packet is displayed before this one is decoded.
            if len(timestamps) > end and packet.dts is not None and packet.dts >= timestamps[end]:
                break
    if first >= len(timestamps):
        raise MediaError(
            f"{display_name(path)} has {len(timestamps)} frames, but the span starts at {first}: fix the span"
        )
    return timestamps[first], timestamps[end] if end < len(timestamps) else None


def _seek_target(path: str | os.PathLike[str], pts: int, limits: Limits) -> int | None:
    """Return the timestamp to seek so that reading starts with a key frame at or before ``pts``; None for the start.

    Tested in a separate container, because some formats land after the target and cannot seek back.
    """
    import av

    with _open_video(path, limits) as (container, stream):
        start, base = stream.start_time or 0, stream.time_base or Fraction(1)
        for back in SEEK_BACK:
            target = pts - round(back / base)
            if target <= start:
                break
            try:
                container.seek(target, stream=stream, backward=True)
                key_frame = next((p for p in container.demux(stream) if p.size and p.is_keyframe), None)
            except (av.FFmpegError, OSError):
                break
            if key_frame is not None and key_frame.pts is not None and key_frame.pts <= pts:
                return target
    return None
