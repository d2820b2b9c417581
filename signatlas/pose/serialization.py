"""Read and write poses as `.pose` files (pose-format) and as JSON, read them from `.npy` files.

Components and points of `.pose` files are matched by name to the 75-point skeleton.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from signatlas.errors import PoseError
from signatlas.pose.skeleton import BODY_NAMES, HAND_NAMES, NUM_POINTS

if TYPE_CHECKING:
    from pose_format import Pose
from signatlas.pose.normalize import check


def _hand_point(name: str) -> str:
    """Return MediaPipe's name of a hand point: INDEX_FINGER_MCP, but THUMB_CMC and PINKY_MCP."""
    finger, _, joint = name.upper().partition("_")
    return f"{finger}_FINGER_{joint}" if finger in ("INDEX", "MIDDLE", "RING") else name.upper()


# Points by component, in the order of the skeleton; pose-format uses the names of MediaPipe.
COMPONENTS = {
    "POSE_LANDMARKS": tuple(name.upper() for name in BODY_NAMES),
    "LEFT_HAND_LANDMARKS": tuple(_hand_point(name) for name in HAND_NAMES),
    "RIGHT_HAND_LANDMARKS": tuple(_hand_point(name) for name in HAND_NAMES),
}
HANDS = ("LEFT_HAND_LANDMARKS", "RIGHT_HAND_LANDMARKS")
POINT_INDEX = {
    name: index
    for index, name in enumerate((component, point) for component, points in COMPONENTS.items() for point in points)
}


class PoseFile(NamedTuple):
    """Poses float32 [frames, 75, 3] in image units, NaN where missing, with frame rate and image size in pixels."""

    poses: np.ndarray
    fps: float
    width: int
    height: int


def read_pose(path: str | os.PathLike[str]) -> PoseFile:
    """Read a `.pose` file; a hand without component is NaN in all frames.

    Raises PoseError when the file is missing or damaged, or has no hand, no frames or no image size.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise PoseError(f"{os.fspath(path)} cannot be read: {error.strerror}") from error
    return parse_pose(content, os.fspath(path))


def parse_pose(content: bytes, name: str = "pose file") -> PoseFile:
    """Return the poses in the content of a `.pose` file; raises PoseError like :func:`read_pose`."""
    pose = _parse(content, name)
    width, height = pose.header.dimensions.width, pose.header.dimensions.height
    present = [c.name for c in pose.header.components]
    if not set(HANDS) & set(present):
        names = ", ".join(present) or "no component"
        raise PoseError(
            f"{name} has neither {' nor '.join(HANDS)}, only {names}: extract it again with at least one hand"
        )
    if not width or not height:
        raise PoseError(f"{name} has no width and height in its header: add them")
    if pose.body.data.shape[0] == 0 or pose.body.data.shape[1] == 0:
        raise PoseError(f"{name} has no frames: record with the signer in view")
    return PoseFile(_points(pose, width, height), float(pose.body.fps), width, height)


def _parse(content: bytes, name: str) -> Pose:
    import struct

    from pose_format import Pose

    try:
        pose = Pose.read(content)
        complete = pose.body.data.shape[:3] == pose.body.confidence.shape
    # The errors that pose-format raises for truncated or invalid content.
    except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError, OverflowError, MemoryError,
            NotImplementedError, UnicodeDecodeError, struct.error) as error:  # fmt: skip
        raise PoseError(f"{name} is not a valid .pose file (truncated or damaged): write or send it again") from error
    if not complete:
        raise PoseError(f"{name} is not a valid .pose file (truncated or damaged): write or send it again")
    return pose


def _points(pose: Pose, width: int, height: int) -> np.ndarray:
    """Return the points of the first person in image units, matched by name; z stays in units of x."""
    data = np.asarray(pose.body.data.data[:, 0, :, :3], np.float32)
    detected = np.asarray(pose.body.confidence[:, 0]) > 0
    named = [(c.name, point, "Z" in c.format) for c in pose.header.components for point in c.points]
    known = [(source, POINT_INDEX[name, point], deep) for source, (name, point, deep) in enumerate(named)
             if (name, point) in POINT_INDEX]  # fmt: skip
    sources, targets, deep = (list(column) for column in zip(*known, strict=True))
    dims = data.shape[-1]
    poses = np.full((len(data), NUM_POINTS, 3), np.nan, np.float32)
    units = np.array([width, height, 1], np.float32)[:dims]
    poses[:, targets, :dims] = np.where(detected[:, sources, None], data[:, sources] / units, np.nan)
    poses[:, [target for target, has_z in zip(targets, deep, strict=True) if not has_z], 2] = np.nan
    poses[np.isinf(poses)] = np.nan
    return poses


def write_pose(path: str | os.PathLike[str], poses: np.ndarray, fps: float, width: int, height: int) -> None:
    """Write ``poses`` [frames, 75, 3] in image units; a missing point gets confidence 0.

    The file is two-dimensional if no point has z; otherwise a missing z of a detected point becomes 0.
    """
    from pose_format import Pose
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

    dims, point_format = (3, "XYZC") if np.isfinite(poses[..., 2]).any() else (2, "XYC")
    components = [PoseHeaderComponent(name, list(points), [], [], point_format) for name, points in COMPONENTS.items()]
    header = PoseHeader(0.2, PoseHeaderDimensions(width, height, width), components)
    detected = np.isfinite(poses[..., :2]).all(-1)
    pixels = np.nan_to_num(poses * np.array([width, height, 1], np.float32))[..., :dims] * detected[..., None]
    body = NumPyPoseBody(fps, pixels[:, None].astype(np.float32), detected[:, None].astype(np.float32))
    buffer = io.BytesIO()
    Pose(header, body).write(buffer)
    Path(path).write_bytes(buffer.getvalue())


def read_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the poses [frames, 75, 3] in a `.npy` file. Raises PoseError when it is missing, damaged or unusable."""
    name = os.fspath(path)
    try:
        poses = np.load(path, allow_pickle=False)
    except OSError as error:
        raise PoseError(f"{name} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise PoseError(f"{name} is not a valid .npy array of numbers ({error})") from error
    return check(poses, name)


def to_json(poses: np.ndarray, decimals: int | None = None) -> list[list[list[float | None]]]:
    """Return ``poses`` [frames, 75, 3] as nested lists with None for missing coordinates, rounded to ``decimals``."""
    values = np.asarray(poses, np.float64)
    objects = (values if decimals is None else values.round(decimals)).astype(object)
    objects[~np.isfinite(values)] = None
    nested: list[list[list[float | None]]] = objects.tolist()
    return nested


def from_json(value: Any, name: str = "poses", *, shape_only: bool = False) -> np.ndarray:
    """Return float32 [frames, 75, 3] from nested lists with None for missing coordinates.

    Raises PoseError for anything else and, unless ``shape_only``, for clips without face and hands.
    """
    if not isinstance(value, list) or not value:
        raise PoseError(f"{name}: expected a list of frames with 75 points of [x, y, z] each, null where missing")
    try:
        array = np.array(value, np.float64)  # None becomes NaN
    except (ValueError, TypeError, OverflowError) as error:
        raise PoseError(f"{name}: each frame needs 75 points of [x, y, z], numbers or null") from error
    if array.size and np.nanmax(np.abs(np.where(np.isfinite(array), array, 0))) > np.finfo(np.float32).max:
        raise PoseError(f"{name}: coordinates out of range: give image units, about 0 to 1")
    if shape_only and array.ndim == 3 and array.shape[1:] == (NUM_POINTS, 3):
        return array.astype(np.float32)
    return check(array.astype(np.float32), name)
