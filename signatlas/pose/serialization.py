"""Poses as `.pose` files and as JSON."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from signatlas.errors import PoseError
from signatlas.pose.skeleton import BODY_NAMES, HAND_NAMES, NUM_POINTS

if TYPE_CHECKING:
    from pose_format import Pose
from typing import Any

from signatlas.pose.normalize import check


def _hand_point(name: str) -> str:
    """MediaPipe says INDEX_FINGER_MCP but THUMB_CMC and PINKY_MCP."""
    finger, _, joint = name.upper().partition("_")
    return f"{finger}_FINGER_{joint}" if finger in ("INDEX", "MIDDLE", "RING") else name.upper()


# pose-format's names, which are MediaPipe's: component -> its points, in our order.
COMPONENTS = {
    "POSE_LANDMARKS": tuple(name.upper() for name in BODY_NAMES),
    "LEFT_HAND_LANDMARKS": tuple(_hand_point(name) for name in HAND_NAMES),
    "RIGHT_HAND_LANDMARKS": tuple(_hand_point(name) for name in HAND_NAMES),
}
HANDS = ("LEFT_HAND_LANDMARKS", "RIGHT_HAND_LANDMARKS")
PLACES = {
    pair: place
    for place, pair in enumerate((component, point) for component, points in COMPONENTS.items() for point in points)
}


class PoseFile(NamedTuple):
    """``poses`` float32 [frames, 75, 3] in image units, NaN where missing; ``fps``, ``width``, ``height`` in pixels."""

    poses: np.ndarray
    fps: float
    width: int
    height: int


def read_pose(path: str | os.PathLike[str]) -> PoseFile:
    """Read a `.pose` file; a hand whose component is not there is NaN throughout, as one that was never seen.

    Raises PoseError when the file is missing or truncated, has neither hand, no frames or no picture size.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise PoseError(f"{os.fspath(path)} cannot be read: {error.strerror}") from error
    return parse_pose(content, os.fspath(path))


def parse_pose(content: bytes, name: str = "pose file") -> PoseFile:
    """Like :func:`read_pose`, from bytes."""
    pose = _parse(content, name)
    width, height = pose.header.dimensions.width, pose.header.dimensions.height
    present = [c.name for c in pose.header.components]
    if not set(HANDS) & set(present):
        only = ", ".join(present) or "no component at all"
        raise PoseError(f"{name} has neither {' nor '.join(HANDS)}, only {only}; extract it again with a hand in it")
    if not width or not height:
        raise PoseError(f"{name} does not say its width and height; write them into its header")
    if pose.body.data.shape[0] == 0 or pose.body.data.shape[1] == 0:
        raise PoseError(f"{name} has no frames; record with the signer in view")
    return PoseFile(_points(pose, width, height), float(pose.body.fps), width, height)


def _parse(content: bytes, name: str) -> Pose:
    import struct

    from pose_format import Pose

    try:
        pose = Pose.read(content)
        whole = pose.body.data.shape[:3] == pose.body.confidence.shape
    # What pose-format raises when bytes end early or make no sense.
    except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError, OverflowError, MemoryError,
            NotImplementedError, UnicodeDecodeError, struct.error) as error:  # fmt: skip
        raise PoseError(f"{name} is not a whole .pose file (truncated or damaged); write or send it again") from error
    if not whole:
        raise PoseError(f"{name} is not a whole .pose file (truncated or damaged); write or send it again")
    return pose


def _points(pose: Pose, width: int, height: int) -> np.ndarray:
    """The first person's points by name; pixels become image units, z is left as MediaPipe gives it (x units)."""
    data = np.asarray(pose.body.data.data[:, 0, :, :3], np.float32)
    seen = np.asarray(pose.body.confidence[:, 0]) > 0
    named = [(c.name, point, "Z" in c.format) for c in pose.header.components for point in c.points]
    known = [(source, PLACES[name, point], deep) for source, (name, point, deep) in enumerate(named)
             if (name, point) in PLACES]  # fmt: skip
    sources, targets, deep = (list(column) for column in zip(*known, strict=True))
    dims = data.shape[-1]
    poses = np.full((len(data), NUM_POINTS, 3), np.nan, np.float32)
    units = np.array([width, height, 1], np.float32)[:dims]
    poses[:, targets, :dims] = np.where(seen[:, sources, None], data[:, sources] / units, np.nan)
    poses[:, [target for target, has_z in zip(targets, deep, strict=True) if not has_z], 2] = np.nan
    poses[np.isinf(poses)] = np.nan
    return poses


def write_pose(path: str | os.PathLike[str], poses: np.ndarray, fps: float, width: int, height: int) -> None:
    """Write ``poses`` [frames, 75, 3] in image units; a missing point has confidence 0.

    Without any z the file is two-dimensional; otherwise a z missing at a point that is there becomes 0.
    """
    from pose_format import Pose
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

    dims, point_format = (3, "XYZC") if np.isfinite(poses[..., 2]).any() else (2, "XYC")
    components = [PoseHeaderComponent(name, list(points), [], [], point_format) for name, points in COMPONENTS.items()]
    header = PoseHeader(0.2, PoseHeaderDimensions(width, height, width), components)
    seen = np.isfinite(poses[..., :2]).all(-1)
    pixels = np.nan_to_num(poses * np.array([width, height, 1], np.float32))[..., :dims] * seen[..., None]
    body = NumPyPoseBody(fps, pixels[:, None].astype(np.float32), seen[:, None].astype(np.float32))
    buffer = io.BytesIO()
    Pose(header, body).write(buffer)
    Path(path).write_bytes(buffer.getvalue())


def to_json(poses: np.ndarray, decimals: int | None = None) -> list[list[list[float | None]]]:
    """Nested lists of ``poses`` [frames, 75, 3], rounded to ``decimals`` where given."""
    values = np.asarray(poses, np.float64)
    boxed = (values if decimals is None else values.round(decimals)).astype(object)
    boxed[~np.isfinite(values)] = None
    nested: list[list[list[float | None]]] = boxed.tolist()
    return nested


def from_json(value: Any, name: str = "poses") -> np.ndarray:
    """float32 [frames, 75, 3] from nested lists. Raises PoseError for anything else, and for clips without hands."""
    if not isinstance(value, list) or not value:
        raise PoseError(f"{name}: expected a list of frames, each 75 points of [x, y, z], null where missing")
    try:
        array = np.array(value, np.float64)  # None becomes NaN
    except (ValueError, TypeError, OverflowError) as error:
        raise PoseError(f"{name}: every frame needs 75 points of [x, y, z], numbers or null") from error
    if array.size and np.nanmax(np.abs(np.where(np.isfinite(array), array, 0))) > np.finfo(np.float32).max:
        raise PoseError(f"{name}: coordinates are in image units, about 0 to 1")
    return check(array.astype(np.float32), name)
