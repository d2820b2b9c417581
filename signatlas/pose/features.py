"""Input features of sign encoders: positions, hand shapes, velocities, bones (reverse dictionary, 4.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from signatlas.pose import skeleton as sk

Stream = Literal["position", "shape", "velocity", "bones", "bone_velocity", "presence"]
PointSet = Literal["all", "upper", "nose_hands"]

_UPPER_BODY = [0, 2, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
POINT_SETS: dict[str, np.ndarray] = {
    "all": np.arange(sk.NUM_POINTS),
    "upper": np.array(_UPPER_BODY + list(range(sk.NUM_BODY, sk.NUM_POINTS))),
    "nose_hands": np.array([sk.NOSE, *range(sk.NUM_BODY, sk.NUM_POINTS)]),
}
PALMS_PER_UNIT = 5.0  # brings hand shapes to about the scale of body positions


def parents(points: str) -> np.ndarray:
    """Return the parent of each point of a set, as an index into the set; the root and orphans are their own parent."""
    point_set = POINT_SETS[points].tolist()
    index = {point: i for i, point in enumerate(point_set)}
    result = []
    for i, point in enumerate(point_set):
        parent = int(sk.PARENTS[point])
        while parent >= 0 and parent not in index:
            parent = int(sk.PARENTS[parent])
        result.append(index.get(parent, i))
    return np.array(result)


def hand_positions(points: str) -> tuple[slice, slice]:
    """Return the slices of the left and the right hand in a point set; hands come last in every set."""
    total = len(POINT_SETS[points])
    return slice(total - 42, total - 21), slice(total - 21, total)


def width(points: str, dims: int, streams: Sequence[str]) -> int:
    """Return the number of features per frame."""
    total = len(POINT_SETS[points])
    sizes = {
        "position": total * dims,
        "shape": 42 * dims,
        "velocity": total * dims,
        "bones": total * dims,
        "bone_velocity": total * dims,
        "presence": total - 42 + 2,
    }
    return sum(sizes[s] for s in streams)


def _velocity(x: Tensor) -> Tensor:
    """Return x[t] - x[t-1], zero in the first frame."""
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, 1:] - x[:, :-1]], dim=1)


def build(x_BTPC: Tensor, present_BTP: Tensor, *, points: str, dims: int, streams: Sequence[str]) -> Tensor:
    """Return features [B, T, F] of normalized coordinates [B, T, P, 3] and presence [B, T, P].

    ``position``: coordinates. ``shape``: each hand relative to its wrist. ``velocity``: first difference over frames.
    ``bones``: child minus parent. ``bone_velocity``: first difference of bones. ``presence``: 1 where detected, one
    value per hand. With ``dims=2`` z is not used.
    """
    left, right = hand_positions(points)
    x = x_BTPC[..., :dims]
    parent = torch.as_tensor(parents(points), device=x.device)
    bones = x - x[..., parent, :] if {"bones", "bone_velocity"} & set(streams) else x
    parts: list[Tensor] = []
    for stream in streams:
        if stream == "position":
            part = x
        elif stream == "shape":
            hands = [x[..., s, :] - x[..., s, :][..., :1, :] for s in (left, right)]
            part = torch.cat(hands, dim=-2) * PALMS_PER_UNIT
        elif stream == "velocity":
            part = _velocity(x) * 4.0
        elif stream == "bones":
            part = bones
        elif stream == "bone_velocity":
            part = _velocity(bones) * 4.0
        else:
            present = present_BTP.to(x.dtype)
            hands = [present[..., s].amax(-1, keepdim=True) for s in (left, right)]
            part = torch.cat([present[..., : left.start], *hands], dim=-1).unsqueeze(-1)
        parts.append(part.flatten(2))
    return torch.cat(parts, dim=-1)
