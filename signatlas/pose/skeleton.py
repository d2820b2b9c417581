"""The 75-point skeleton: names, parents, left-right pairs. Body 0-32, left hand 33-53, right hand 54-74."""

from __future__ import annotations

import numpy as np

BODY_NAMES = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index",
    "left_thumb", "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    "left_heel", "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip
HAND_NAMES = (
    "wrist",
    *(
        f"{finger}_{joint}"
        for finger, joints in (
            ("thumb", ("cmc", "mcp", "ip", "tip")),
            ("index", ("mcp", "pip", "dip", "tip")),
            ("middle", ("mcp", "pip", "dip", "tip")),
            ("ring", ("mcp", "pip", "dip", "tip")),
            ("pinky", ("mcp", "pip", "dip", "tip")),
        )
        for joint in joints
    ),
)

NUM_BODY, NUM_HAND = 33, 21
NUM_POINTS = NUM_BODY + 2 * NUM_HAND
BODY = slice(0, 33)
LEFT_HAND = slice(33, 54)
RIGHT_HAND = slice(54, 75)

NOSE, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 0, 11, 12, 23, 24
LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST = 13, 14, 15, 16
HAND_WRIST, HAND_MIDDLE_MCP = 0, 9  # index within a hand

POINT_NAMES = (
    tuple(f"body.{n}" for n in BODY_NAMES)
    + tuple(f"left_hand.{n}" for n in HAND_NAMES)
    + tuple(f"right_hand.{n}" for n in HAND_NAMES)
)

# Parents within a hand; the wrist is the root.
HAND_PARENTS = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
BODY_PARENTS = (
    -1, 0, 1, 2, 0, 4, 5, 3, 6, 0, 0, 0, 0, 11, 12, 13, 14, 15, 16, 15, 16, 15, 16, 11, 12, 23, 24, 25, 26, 27, 28,
    27, 28,
)  # fmt: skip
# The parent of a hand's wrist is the wrist of the body, so the skeleton is one tree with the nose as root.
PARENTS = np.array(
    BODY_PARENTS
    + tuple(LEFT_WRIST if p < 0 else p + 33 for p in HAND_PARENTS)
    + tuple(RIGHT_WRIST if p < 0 else p + 54 for p in HAND_PARENTS)
)


def _mirror_index() -> np.ndarray:
    swapped = []
    for name in POINT_NAMES:
        other = name.replace("left", "#").replace("right", "left").replace("#", "right")
        swapped.append(POINT_NAMES.index(other))
    return np.array(swapped)


MIRROR = _mirror_index()  # MIRROR[i] is the index of the point on the other side, or of a central point itself
