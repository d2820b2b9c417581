"""What a sign encoder sees of a pose: positions, hand shapes, velocities, bones (reverse dictionary, 4.4)."""

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
PALMS_PER_UNIT = 5.0  # hand shapes are small against the body: bring them to about the same numbers


def parents(points: str) -> np.ndarray:
    """Parent of each point of a point set, as a position in the set; the root and orphans point at themselves."""
    chosen = POINT_SETS[points].tolist()
    where = {point: i for i, point in enumerate(chosen)}
    result = []
    for i, point in enumerate(chosen):
        parent = int(sk.PARENTS[point])
        while parent >= 0 and parent not in where:
            parent = int(sk.PARENTS[parent])
        result.append(where.get(parent, i))
    return np.array(result)


def hand_positions(points: str) -> tuple[slice, slice]:
    """Where the left and the right hand lie in a point set (they are always last)."""
    total = len(POINT_SETS[points])
    return slice(total - 42, total - 21), slice(total - 21, total)


def width(points: str, dims: int, streams: Sequence[str]) -> int:
    """Number of features a frame."""
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
    """x[t] - x[t-1], zero in the first frame."""
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, 1:] - x[:, :-1]], dim=1)


def build(x_BTPC: Tensor, present_BTP: Tensor, *, points: str, dims: int, streams: Sequence[str]) -> Tensor:
    """Features [B, T, F] from normalized coordinates [B, T, P, 3] and presence [B, T, P].

    ``position``: coordinates. ``shape``: each hand relative to its own wrist. ``velocity``: first difference over
    frames. ``bones``: child minus parent. ``bone_velocity``: their first difference. ``presence``: 1 where seen
    (one value a hand). With ``dims=2`` z is never looked at.
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
            seen = present_BTP.to(x.dtype)
            hands = [seen[..., s].amax(-1, keepdim=True) for s in (left, right)]
            part = torch.cat([seen[..., : left.start], *hands], dim=-1).unsqueeze(-1)
        parts.append(part.flatten(2))
    return torch.cat(parts, dim=-1)
