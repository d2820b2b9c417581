"""Rows of skeletons: one clip, or a query and its nearest neighbors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from signatlas.plots.figures import BLACK, BLUE, GRAY, GREEN, VERMILION, figure, save
from signatlas.pose import skeleton as sk

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

KNUCKLES = ((5, 9), (9, 13), (13, 17))
HAND_LIMBS = np.array([(p, i) for i, p in enumerate(sk.HAND_PARENTS) if p >= 0] + list(KNUCKLES))
BODY_LIMBS = np.array(
    [
        (sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER),
        (sk.LEFT_SHOULDER, sk.LEFT_ELBOW),
        (sk.LEFT_ELBOW, sk.LEFT_WRIST),
        (sk.RIGHT_SHOULDER, sk.RIGHT_ELBOW),
        (sk.RIGHT_ELBOW, sk.RIGHT_WRIST),
        (sk.LEFT_SHOULDER, sk.LEFT_HIP),
        (sk.RIGHT_SHOULDER, sk.RIGHT_HIP),
        (sk.LEFT_HIP, sk.RIGHT_HIP),
    ]
)
PARTS = (
    (BODY_LIMBS, GRAY, 1.2),
    (HAND_LIMBS + sk.LEFT_HAND.start, BLUE, 1.0),
    (HAND_LIMBS + sk.RIGHT_HAND.start, VERMILION, 1.0),
)
LEGEND = "left hand blue, right hand orange-red, face a dot"
PANEL = "#F3F3F3"
DRAWN = np.unique(np.concatenate([[sk.NOSE], *(limbs.ravel() for limbs, _, _ in PARTS)]))


@dataclass(frozen=True)
class Strip:
    """Row of a figure of neighbors: poses [T, 75, 3], label, and whether it is a correct result (None: the query)."""

    poses: np.ndarray
    label: str
    right: bool | None = None
    aspect: float | None = None


def strip(
    poses: np.ndarray,
    *,
    frames: int = 8,
    axes: Axes | None = None,
    title: str | None = None,
    aspect: float | None = None,
    whole: bool = False,
) -> Figure:
    """Draw up to ``frames`` frames of a clip [T, 75, 3] in a row, evenly spaced over the frames with a hand.

    y points down, as in the picture; ``aspect`` is width/height, if known. Missing points are skipped. Panels are
    fitted to the signer, or show the ``whole`` picture. Draws into ``axes`` or a new figure, and returns the figure.
    """
    from matplotlib.patches import Rectangle

    frame_numbers = moments(poses, frames)
    points = poses[frame_numbers][..., :2].astype(float)
    points[..., 0] *= aspect or 1.0
    if axes is None:
        axes = figure(1.5 * frames, 1.9).subplots()
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=9, loc="left")
    if not np.isfinite(points[:, DRAWN]).all(-1).any():
        axes.text(0.5, 0.5, "no points in any frame", ha="center", va="center", transform=axes.transAxes)
        return _figure_of(axes)
    corner, size = (np.zeros(2), np.array([aspect or 1.0, 1.0])) if whole else moment_box(points)
    step = 1.06 * size[0]
    points[..., 0] += step * np.arange(len(frame_numbers))[:, None]
    if not whole:
        _draw(axes, points)
    for index, number in enumerate(frame_numbers):
        left = corner[0] + step * index
        panel = axes.add_patch(Rectangle((left, corner[1]), *size, facecolor=PANEL, edgecolor="none", zorder=0))
        if whole:  # clip points outside the picture at the panel's edge
            _draw(axes, points[index : index + 1], panel)
        x, y = left + 0.03 * size[0], corner[1] + 0.97 * size[1]
        axes.text(x, y, str(number), va="bottom", fontsize=6, color=GRAY)
    axes.set_xlim(corner[0], corner[0] + step * frames)
    axes.set_ylim(corner[1] + size[1], corner[1])
    axes.set_aspect("equal", anchor="W")
    return _figure_of(axes)


def moment_box(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return upper left corner and size (width, height) of a box around all points, with a bounded aspect."""
    low, high = np.nanmin(points[:, DRAWN], (0, 1)), np.nanmax(points[:, DRAWN], (0, 1))
    width, height = np.maximum(high - low, 1e-3)
    size = 1.12 * np.array([max(width, 0.85 * height), max(height, width / 1.1)])
    return (low + high - size) / 2, size


def view(poses: np.ndarray, aspect: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return upper left corner and size (width, height) of a view of the signer, in shares of the picture height.

    The view contains head, shoulders and hands of all frames, except outliers. Hips are ignored, because they are often
    estimated below the edge of the picture.
    """
    points_in_view = [sk.NOSE, sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER, *range(sk.NUM_BODY, sk.NUM_POINTS)]
    points = poses[:, points_in_view, :2].reshape(-1, 2).astype(np.float64)
    points[:, 0] *= aspect or 1.0
    points = points[np.isfinite(points).all(-1)]
    if not len(points):
        return np.zeros(2), np.array([aspect or 1.0, 1.0])
    low, high = np.percentile(points, 0.5, axis=0), np.percentile(points, 99.5, axis=0)
    size = np.maximum(high - low, 1e-3)
    view_size = 1.3 * np.array([max(size[0], 0.8 * size[1]), max(size[1], size[0] / 1.4)])
    return (low + high - view_size) / 2, view_size


def moments(poses: np.ndarray, frames: int) -> np.ndarray:
    """Return up to ``frames`` frame numbers, evenly spaced over the frames with a hand (over all if there are none)."""
    with_hand = np.flatnonzero(np.isfinite(poses[:, sk.NUM_BODY :, 0]).any(1))
    candidates = with_hand if len(with_hand) else np.arange(len(poses))
    return candidates[np.unique(np.linspace(0, len(candidates) - 1, frames).round().astype(int))]


def _draw(axes: Axes, points: np.ndarray, panel: Patch | None = None) -> None:
    """Draw limbs and noses of points [frames, 75, 2], clipped at the edges of ``panel``."""
    from matplotlib.collections import LineCollection

    for limbs, color, width in PARTS:
        segments = points[:, limbs].reshape(-1, 2, 2)
        present = np.isfinite(segments).all((1, 2))
        lines = LineCollection(list(segments[present]), colors=color, linewidths=width, capstyle="round")
        axes.add_collection(lines)
        if panel is not None:
            lines.set_clip_path(panel)
    noses = axes.scatter(points[:, sk.NOSE, 0], points[:, sk.NOSE, 1], s=30, color=BLACK, linewidths=0)
    if panel is not None:
        noses.set_clip_path(panel)


def _figure_of(axes: Axes) -> Figure:
    from matplotlib.figure import Figure

    parent = axes.figure
    return parent if isinstance(parent, Figure) else parent.figure


def neighbors(
    rows: Sequence[Strip], path: str | os.PathLike[str], *, frames: int = 8, credit: str | None = None
) -> None:
    """Save a figure: the query in the first row, then a row per neighbor with label and correctness.

    ``credit`` (the source of the recordings) is written below.
    """
    canvas = figure(1.5 * frames + 2.0, 1.55 * len(rows) + 0.3)
    grid = canvas.subplots(len(rows), 2, squeeze=False, width_ratios=[2.0, 1.5 * frames])
    for index, (row, (text_axes, strip_axes)) in enumerate(zip(rows, grid, strict=True)):
        strip(row.poses, frames=frames, axes=strip_axes, aspect=row.aspect)
        text_axes.set_axis_off()
        label = row.label if row.right is None else f"{index}. {row.label}"
        text_axes.text(0, 0.6, label, fontsize=11, fontweight="bold" if row.right is None else "normal", va="center")
        if row.right is not None:
            mark, color = ("\N{CHECK MARK} right", GREEN) if row.right else ("\N{BALLOT X} wrong", VERMILION)
            text_axes.text(0, 0.35, mark, fontsize=10, color=color, va="center")
    canvas.supxlabel(". ".join(filter(None, [LEGEND, credit])), fontsize=7, color=GRAY)
    save(canvas, path)
