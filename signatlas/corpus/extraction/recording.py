"""Extract the poses of one recording, or raise an error that says why it cannot be used; needs no cluster."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from signatlas.corpus.format import Clip
from signatlas.corpus.sources.base import Item
from signatlas.errors import MediaError
from signatlas.files import filesystem, sha256_file
from signatlas.pose import skeleton as sk
from signatlas.pose.holistic import DETECTOR, Holistic
from signatlas.pose.media import (
    CUT,
    Limits,
    Media,
    TooLargeError,
    UnreachableError,
    display_name,
    exactly,
    frames_per_second,
    nearest,
)
from signatlas.pose.video import Reader, count_frames, frames, probe

SHORT_SHARE, SHORT_FRAMES = 0.01, 2  # tolerated difference from the announced length; containers are often off by 1-2
LABELS = ("id", "sign_language", "source", "split", "signer", "gloss", "glosses", "texts")


@dataclass(frozen=True)
class Options:
    """Options that change the poses of a recording, or whether it is rejected."""

    face: bool = False
    target_fps: float | None = None
    max_seconds: float = Limits().seconds
    max_side: int = Limits().side

    @property
    def limits(self) -> Limits:
        """Limits for reading the recording."""
        return Limits(self.max_side, self.max_seconds)


def extraction_key(item: Item, options: Options) -> str:
    """Return a hex key of an extraction: a hash of the recording's current state, its time span, and the options.

    Labels are not part of it.
    """
    media = {name: getattr(item, name) for name in ("id", "media", "span", "seconds", "box", "frames", "fps", "sha256",
                                                  "shown_as")}  # fmt: skip
    content = [media, _file_state(item.media), asdict(options), DETECTOR]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:40]


def _file_state(media: str) -> list[Any]:
    """Return [name, size, modification time] of a file, or of the files of a folder; empty if it cannot be read."""
    from pyarrow import ArrowException
    from pyarrow.fs import FileSelector, FileType

    try:
        store, inner = filesystem(media)
        file = store.get_file_info(inner)
        files = [file] if file.type != FileType.Directory else store.get_file_info(FileSelector(inner))
        return sorted([f.base_name, f.size, f.mtime_ns] for f in files if f.is_file)
    except (OSError, ArrowException):
        return []  # reading it raises the error


def media_bytes(media: str) -> int:
    """Return the size of a file, or of the files of a folder; 0 if it cannot be read."""
    return sum(number or 0 for _, number, _ in _file_state(media))


def extract(
    item: Item,
    options: Options,
    holistic: Callable[[], Holistic],
    progress: Callable[[int], None] = lambda number: None,
) -> Clip:
    """Return the clip of an item. ``holistic`` returns a detector if one is needed; it is reset here.

    ``progress`` is called with the number of each frame. Raises MediaError or PoseError for a recording to quarantine:
    a file that is missing, damaged, too large or too long, that has a wrong sha256 or fewer frames than announced, or
    in which no hand is detected.
    """
    if item.sha256 is not None:
        _check_sha256(item)
    clip = (
        _read_poses(item, options) if item.media.endswith(".pose") else _detect_video(item, options, holistic, progress)
    )
    if not np.isfinite(clip.poses[:, sk.NUM_BODY :, 0]).any():
        raise MediaError(f"{display_name(item.media)}: no hand detected in {clip.num_frames} frames")
    if item.shown_as is not None:
        clip = replace(clip, width=item.shown_as[0], height=item.shown_as[1])
    return clip


def with_labels(clip: Clip, item: Item) -> Clip:
    """Return the clip with the current labels of its item."""
    return replace(clip, **{name: getattr(item, name) for name in LABELS})


def _check_sha256(item: Item) -> None:
    name = display_name(item.media)
    try:
        store, inner = filesystem(item.media)
        digest = sha256_file(store, inner)
    except OSError as error:
        raise UnreachableError(f"{name} cannot be read ({error}): check the path") from error
    if digest != item.sha256:
        raise MediaError(f"{name} has sha256 {digest[:12]}..., expected {str(item.sha256)[:12]}...: download it again")


def _detect_video(
    item: Item, options: Options, holistic: Callable[[], Holistic], progress: Callable[[int], None]
) -> Clip:
    media = probe(item.media, fps=item.fps, limits=options.limits)
    announced = _expected_frames(item, media, options.limits)
    if item.span is None and item.seconds is None and media.seconds and media.seconds > options.max_seconds:
        name = display_name(item.media)
        raise TooLargeError(f"{name} is {media.seconds:.0f} s long, more than {options.max_seconds:g} s", CUT)
    reader = frames(item.media, span=item.span, seconds=item.seconds, target_fps=options.target_fps, box=item.box,
                    fps=item.fps, limits=options.limits)  # fmt: skip
    detector = holistic()
    detector.reset()
    detections = detector(_count_frames(reader, progress))
    if announced is not None:
        _check_length(reader.read, announced, item)
    width, height = _true_size(item, media)
    rate = frames_per_second(media.fps, options.target_fps)
    return _make_clip(
        item, detections.poses, rate, width, height, visibility=detections.visibility, face=detections.face
    )


def _count_frames(reader: Reader, progress: Callable[[int], None]) -> Any:
    for number, image in enumerate(reader, 1):
        yield image
        progress(number)


def _expected_frames(item: Item, media: Media, limits: Limits) -> int | None:
    """Return the expected number of frames: that of the source, else of the time span, else of the container."""
    if item.frames is not None:
        return item.frames
    if item.span is not None:
        return item.span[1] - item.span[0]
    if item.seconds is not None:
        if (counted := count_frames(item.media, item.seconds, limits=limits)) is not None:
            return counted
        return round((item.seconds[1] - item.seconds[0]) * media.fps) if media.fps else None
    return media.frames


def _check_length(num_frames: int, announced: int, item: Item) -> None:
    missing = announced - num_frames
    if missing > SHORT_FRAMES and missing > SHORT_SHARE * announced:
        name = display_name(item.media)
        raise MediaError(f"{name} has {num_frames} frames, but {announced} are announced: download it again")


def _true_size(item: Item, media: Media) -> tuple[int, int]:
    """Return width and height with true proportions, of the crop if there is one."""
    if item.box is None:
        return media.shown_as
    left, top, right, bottom = item.box
    width = min(right, media.width) - max(left, 0)
    height = min(bottom, media.height) - max(top, 0)
    return round(width * media.shown_as[0] / media.width), round(height * media.shown_as[1] / media.height)


def _read_poses(item: Item, options: Options) -> Clip:
    """Read a `.pose` file, cut and resampled like a video; it has no face points."""
    from signatlas.pose.serialization import parse_pose

    name = display_name(item.media)
    if item.box is not None:
        raise MediaError(f"{name}: poses cannot be cropped: remove the box")
    try:
        store, inner = filesystem(item.media)
        with store.open_input_stream(inner) as stream:
            pose = parse_pose(stream.read(), name)
    except OSError as error:
        raise UnreachableError(
            f"{name} cannot be read ({os.strerror(error.errno) if error.errno else error})"
        ) from error
    rate = exactly(pose.fps) if pose.fps > 0 else exactly(25)
    first, end = item.span or (0, len(pose.poses))
    if item.seconds is not None:
        first, end = (-int(-(exactly(at) * rate) // 1) for at in item.seconds)
    poses = pose.poses[first:end]
    if len(poses) == 0:
        raise MediaError(f"{name} has {len(pose.poses)} frames, none of them in {first}-{end}: fix the time span")
    if item.span is not None or item.frames is not None:
        _check_length(len(poses), item.frames or end - first, item)
    if len(poses) / rate > options.max_seconds:
        raise TooLargeError(f"{name} is longer than {options.max_seconds:g} s", CUT)
    if options.target_fps is not None:
        timed = ((number / rate, lambda pose=pose: pose) for number, pose in enumerate(poses))
        poses = np.stack([decode() for _, decode in nearest(timed, exactly(options.target_fps))])
    return _make_clip(item, poses, frames_per_second(pose.fps or None, options.target_fps), pose.width, pose.height)


def _make_clip(item: Item, poses: np.ndarray, fps: float | None, width: int, height: int, **arrays: Any) -> Clip:
    return with_labels(Clip(item.id, "train", poses, "", "", fps=fps, width=width, height=height, **arrays), item)
