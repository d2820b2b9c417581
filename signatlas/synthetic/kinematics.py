"""Forward kinematics of a 21-point hand, and inverse kinematics of an arm."""

from __future__ import annotations

import numpy as np

# Right hand, palm to the camera, fingers up. Axes: thumb side, finger direction, out of the palm. The palm (wrist to
# middle knuckle) has length 1. Bone lengths follow Buryanov & Kotiuk, 2010.
KNUCKLES = np.array([[0.26, 0.28, 0.06], [0.24, 0.97, 0.0], [0.0, 1.0, 0.0], [-0.21, 0.93, 0.0], [-0.40, 0.82, 0.0]])
BONES = np.array([[0.46, 0.34, 0.28], [0.45, 0.26, 0.20], [0.50, 0.30, 0.21], [0.46, 0.29, 0.21], [0.37, 0.21, 0.19]])
FULL_FLEXION = np.deg2rad([[50, 60, 70], [85, 105, 65], [85, 105, 65], [85, 105, 65], [85, 105, 65]])
SPREAD = np.deg2rad([0.0, -12.0, 0.0, 11.0, 22.0])  # angles of the fingers at spread 1, from the middle finger
THUMB_AT_REST, THUMB_ACROSS = np.deg2rad(-48.0), np.deg2rad(75.0)


def hand(flexion: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return points [frames, 21, 3] of a right hand in its own axes, with the wrist at the origin.

    ``flexion`` [frames, 5] of thumb, index, middle, ring and pinky is 0 (straight) to 1 (closed); ``spread`` [frames]
    is 0 (fingers together) to 1. Flexion of the thumb moves it across the palm.
    """
    frames = len(flexion)
    points = np.zeros((frames, 21, 3))
    angles = flexion[:, :, None] * FULL_FLEXION
    angles_in_palm = np.broadcast_to(SPREAD * spread[:, None], (frames, 5)).copy()
    angles_in_palm[:, 0] = THUMB_AT_REST + THUMB_ACROSS * flexion[:, 0]
    for finger in range(5):
        base = 1 + 4 * finger
        points[:, base] = KNUCKLES[finger]
        bend = np.cumsum(angles[:, finger], axis=1) * (0.35 if finger == 0 else 1.0)
        along = np.cos(bend)[..., None] * _direction(angles_in_palm[:, finger])[:, None]
        out = np.sin(bend)[..., None] * np.array([0.0, 0.0, 1.0])
        steps = BONES[finger][None, :, None] * (along + out)
        points[:, base + 1 : base + 4] = KNUCKLES[finger] + np.cumsum(steps, axis=1)
    return points


def _direction(angles: np.ndarray) -> np.ndarray:
    """Return unit vectors in the plane of the palm, at angles from the finger direction toward the little finger."""
    return np.stack([-np.sin(angles), np.cos(angles), np.zeros_like(angles)], axis=-1)


def rotation(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Return rotations [frames, 3, 3] by angles in radians about the vertical, the horizontal and the viewing axis."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)
    about_y = np.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], -1).reshape(-1, 3, 3)
    about_x = np.stack([one, zero, zero, zero, cp, -sp, zero, sp, cp], -1).reshape(-1, 3, 3)
    about_z = np.stack([cr, -sr, zero, sr, cr, zero, zero, zero, one], -1).reshape(-1, 3, 3)
    return about_z @ about_x @ about_y


def elbow(
    shoulder: np.ndarray, wrist: np.ndarray, upper: float, lower: float, pole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return elbow and reachable wrist, [frames, 3] each, of an arm with the given bone lengths, bent toward ``pole``.

    A wrist out of reach is moved along the line to the shoulder.
    """
    reach = wrist - shoulder
    distance = np.linalg.norm(reach, axis=-1, keepdims=True).clip(1e-6)
    reachable = np.clip(distance, abs(upper - lower) + 1e-3, 0.98 * (upper + lower))
    forward = reach / distance
    bend = pole - forward * (forward @ pole)[:, None]
    bend /= np.linalg.norm(bend, axis=-1, keepdims=True).clip(1e-6)
    along = (upper**2 - lower**2 + reachable**2) / (2 * reachable)
    across = np.sqrt(np.clip(upper**2 - along**2, 0.0, None))
    return shoulder + along * forward + across * bend, shoulder + reachable * forward
