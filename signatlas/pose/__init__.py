"""Poses: the skeleton, normalization, features, augmentation, quality, video, MediaPipe, `.pose` files and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signatlas.lazy import lazy_exports

if TYPE_CHECKING:
    from signatlas.pose.attributes import PoseAttributes
    from signatlas.pose.attributes import attributes as pose_attributes
    from signatlas.pose.augment import AugmentConfig, Augmenter
    from signatlas.pose.normalize import Points
    from signatlas.pose.normalize import normalize as normalize_poses
    from signatlas.pose.prepared_clips import PreparedClips
    from signatlas.pose.quality import Quality
    from signatlas.pose.quality import measure as measure_quality
    from signatlas.pose.serialization import from_json as poses_from_json
    from signatlas.pose.serialization import read_npy, read_pose, write_pose
    from signatlas.pose.serialization import to_json as poses_to_json

__all__ = [
    "AugmentConfig",
    "Augmenter",
    "Points",
    "PoseAttributes",
    "PreparedClips",
    "Quality",
    "measure_quality",
    "normalize_poses",
    "pose_attributes",
    "poses_from_json",
    "poses_to_json",
    "read_npy",
    "read_pose",
    "write_pose",
]

_TARGETS = {
    "AugmentConfig": ("augment", "AugmentConfig"),
    "Augmenter": ("augment", "Augmenter"),
    "Points": ("normalize", "Points"),
    "PoseAttributes": ("attributes", "PoseAttributes"),
    "PreparedClips": ("prepared_clips", "PreparedClips"),
    "Quality": ("quality", "Quality"),
    "measure_quality": ("quality", "measure"),
    "normalize_poses": ("normalize", "normalize"),
    "pose_attributes": ("attributes", "attributes"),
    "poses_from_json": ("serialization", "from_json"),
    "poses_to_json": ("serialization", "to_json"),
    "read_npy": ("serialization", "read_npy"),
    "read_pose": ("serialization", "read_pose"),
    "write_pose": ("serialization", "write_pose"),
}

__getattr__ = lazy_exports(__name__, _TARGETS)
