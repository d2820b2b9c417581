"""From one recording to its poses, and why not: what extraction does to an item, with or without a cluster."""

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
from signatlas.pose.media import Limits, Media, UnreachableError, display_name, exactly, frames_per_second, nearest
from signatlas.pose.video import Reader, begun_within, frames, probe

SHORT_SHARE, SHORT_FRAMES = 0.01, 2  # containers are often a frame or two off; more means that something is missing
LABELS = ("id", "sign_language", "source", "split", "signer", "gloss", "glosses", "texts")


@dataclass(frozen=True)
class Options:
    """What changes the poses of a recording, or whether it is taken."""

    face: bool = False
    target_fps: float | None = None
    max_seconds: float = Limits().seconds
    max_side: int = Limits().side

    @property
    def limits(self) -> Limits:
        return Limits(self.max_side, self.max_seconds)


def identity(item: Item, options: Options) -> str:
    """Hex name of the work to do: the recording as it lies there now, its cut, and the options. Labels do not count."""
    cut = {name: getattr(item, name) for name in ("id", "media", "span", "seconds", "box", "frames", "fps", "sha256",
                                                  "shown_as")}  # fmt: skip
    told = [cut, _state(item.media), asdict(options), DETECTOR]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:40]


def _state(media: str) -> list[Any]:
    """Size and time of change of a file; of a folder, those of the files in it. Nothing where there is none."""
    from pyarrow import ArrowException
    from pyarrow.fs import FileSelector, FileType

    try:
        store, inner = filesystem(media)
        found = store.get_file_info(inner)
        held = [found] if found.type != FileType.Directory else store.get_file_info(FileSelector(inner))
        return sorted([f.base_name, f.size, f.mtime_ns] for f in held if f.is_file)
    except (OSError, ArrowException):
        return []  # reading it will say what is wrong


def size(media: str) -> int:
    """Bytes of a file or of the files in a folder, 0 where unknown."""
    return sum(number or 0 for _, number, _ in _state(media))


def extract(
    item: Item,
    options: Options,
    holistic: Callable[[], Holistic],
    progress: Callable[[int], None] = lambda number: None,
) -> Clip:
    """The clip of one item. ``holistic`` gives a detector when one is needed; it is reset here.

    ``progress`` is called with each frame's number. Raises MediaError or PoseError, one line, for whatever belongs
    into quarantine: a file that is missing, broken, not what its sha256 says, too large or too long, that yields
    fewer frames than announced, or in which not one hand is found.
    """
    if item.sha256 is not None:
        _check_sum(item)
    clip = (
        _of_pose_file(item, options) if item.media.endswith(".pose") else _of_video(item, options, holistic, progress)
    )
    if not np.isfinite(clip.poses[:, sk.NUM_BODY :, 0]).any():
        raise MediaError(f"{display_name(item.media)}: not one hand was found in {clip.num_frames} frames")
    if item.shown_as is not None:
        clip = replace(clip, width=item.shown_as[0], height=item.shown_as[1])
    return clip


def labeled(clip: Clip, item: Item) -> Clip:
    """The clip with the labels that its item has now."""
    return replace(clip, **{name: getattr(item, name) for name in LABELS})


def _check_sum(item: Item) -> None:
    name = display_name(item.media)
    try:
        store, inner = filesystem(item.media)
        found = sha256_file(store, inner)
    except OSError as error:
        raise UnreachableError(f"{name} cannot be read ({error}); check the path") from error
    if found != item.sha256:
        raise MediaError(f"{name} has sha256 {found[:12]}..., its source says {str(item.sha256)[:12]}...: get it again")


def _of_video(item: Item, options: Options, holistic: Callable[[], Holistic], progress: Callable[[int], None]) -> Clip:
    media = probe(item.media, fps=item.fps, limits=options.limits)
    announced = _announced(item, media, options.limits)
    if item.span is None and item.seconds is None and media.seconds and media.seconds > options.max_seconds:
        name = display_name(item.media)
        raise MediaError(
            f"{name} lasts {media.seconds:.0f} s, more than {options.max_seconds:g}: cut it, or raise the limit"
        )
    reader = frames(item.media, span=item.span, seconds=item.seconds, target_fps=options.target_fps, box=item.box,
                    fps=item.fps, limits=options.limits)  # fmt: skip
    detector = holistic()
    detector.reset()
    found = detector(_counted(reader, progress))
    if announced is not None:
        _check_length(reader.read, announced, item)
    width, height = _true_size(item, media)
    rate = frames_per_second(media.fps, options.target_fps)
    return _clip(item, found.poses, rate, width, height, visibility=found.visibility, face=found.face)


def _counted(reader: Reader, progress: Callable[[int], None]) -> Any:
    for number, image in enumerate(reader, 1):
        yield image
        progress(number)


def _announced(item: Item, media: Media, limits: Limits) -> int | None:
    """How many frames there should be: by the source, else by the cut, else by the container."""
    if item.frames is not None:
        return item.frames
    if item.span is not None:
        return item.span[1] - item.span[0]
    if item.seconds is not None:
        if (counted := begun_within(item.media, item.seconds, limits=limits)) is not None:
            return counted
        return round((item.seconds[1] - item.seconds[0]) * media.fps) if media.fps else None
    return media.frames


def _check_length(found: int, announced: int, item: Item) -> None:
    lacking = announced - found
    if lacking > SHORT_FRAMES and lacking > SHORT_SHARE * announced:
        raise MediaError(f"{display_name(item.media)} yields {found} frames, {announced} are announced: get it again")


def _true_size(item: Item, media: Media) -> tuple[int, int]:
    """Width and height in proportions that are true, of the crop where there is one."""
    if item.box is None:
        return media.shown_as
    left, top, right, bottom = item.box
    width = min(right, media.width) - max(left, 0)
    height = min(bottom, media.height) - max(top, 0)
    return round(width * media.shown_as[0] / media.width), round(height * media.shown_as[1] / media.height)


def _of_pose_file(item: Item, options: Options) -> Clip:
    """Poses that are there already: cut and thinned like a video. Nothing is detected, so there is no face."""
    from signatlas.pose.serialization import parse_pose

    name = display_name(item.media)
    if item.box is not None:
        raise MediaError(f"{name}: poses cannot be cropped; leave the box out")
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
        raise MediaError(f"{name} has {len(pose.poses)} frames, none of them in {first}-{end}; mend the cut")
    if item.span is not None or item.frames is not None:
        _check_length(len(poses), item.frames or end - first, item)
    if len(poses) / rate > options.max_seconds:
        raise MediaError(f"{name} is longer than {options.max_seconds:g} s: cut it, or raise the limit")
    if options.target_fps is not None:
        ticks = ((number / rate, lambda pose=pose: pose) for number, pose in enumerate(poses))
        poses = np.stack([picture() for _, picture in nearest(ticks, exactly(options.target_fps))])
    return _clip(item, poses, frames_per_second(pose.fps or None, options.target_fps), pose.width, pose.height)


def _clip(item: Item, poses: np.ndarray, fps: float | None, width: int, height: int, **found: Any) -> Clip:
    return labeled(Clip(item.id, "train", poses, "", "", fps=fps, width=width, height=height, **found), item)
