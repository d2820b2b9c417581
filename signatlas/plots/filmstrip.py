"""Filmstrip of a clip: video frames, skeletons, and glosses as colored bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from signatlas.plots.animation import GRAY_SPAN, ClipView, gloss_color
from signatlas.plots.figures import BLACK, GRAY, figure
from signatlas.plots.skeleton import DRAWN, LEGEND, PANEL, moment_box, moments, strip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCHES, PANEL_PIXELS = 1.5, 240


def filmstrip(
    clip: ClipView,
    *,
    frames: int = 8,
    pictures: dict[int, np.ndarray] | None = None,
    whole: bool = True,
    credit: str | None = None,
) -> Figure:
    """Draw up to ``frames`` frames of a clip as a row of skeletons, with frame numbers.

    ``pictures`` (frame number -> uint8 RGB [H, W, 3], for the numbers of :func:`signatlas.plots.skeleton.moments`) are
    drawn in a row above; missing ones are left empty. If they are the ``whole`` pictures of the poses, the skeletons
    have the same position. Gloss spans are drawn below as bars on a timeline, hatched for assigned signs. ``credit``
    is written at the bottom.
    """
    frame_numbers = moments(clip.poses, frames)
    whole = whole and bool(pictures)
    box = np.array([clip.aspect or 1.0, 1.0]) if whole else _box(clip, frame_numbers)
    heights = [PANEL_INCHES * min(box[1] / box[0], 1.8) + (0.0 if pictures else 0.25)]
    if pictures:
        tallest = box[1] / box[0] if whole else max(p.shape[0] / p.shape[1] for p in pictures.values())
        heights.insert(0, PANEL_INCHES * min(tallest, 1.8) + 0.25)
    heights += [0.75] if clip.spans else []
    canvas = figure(max(PANEL_INCHES * frames, 4.0), sum(heights) + 0.2)
    rows = list(canvas.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    if pictures:
        _pictures(rows[0], frame_numbers, pictures, frames, clip.aspect if whole else None)
        rows[0].set_title(clip.title, fontsize=9, loc="left")
    skeletons = rows[1 if pictures else 0]
    title = None if pictures else clip.title
    strip(clip.poses, frames=frames, axes=skeletons, title=title, aspect=clip.aspect, whole=whole)
    if clip.spans:
        _bars(rows[-1], clip, frame_numbers)
    canvas.supxlabel(". ".join(filter(None, [LEGEND, credit])), fontsize=6, color=GRAY)
    return canvas


def _box(clip: ClipView, frame_numbers: np.ndarray) -> np.ndarray:
    """Return width and height of the panel of a skeleton."""
    points = clip.poses[frame_numbers][..., :2] * np.array([clip.aspect or 1.0, 1.0])
    return moment_box(points)[1] if np.isfinite(points[:, DRAWN]).all(-1).any() else np.ones(2)


def _pictures(
    axes: Axes, frame_numbers: np.ndarray, pictures: dict[int, np.ndarray], frames: int, aspect: float | None
) -> None:
    """Draw one picture per panel, as wide as the panels of skeletons; ``aspect`` overrides that of the pictures."""
    from matplotlib.patches import Rectangle

    axes.set_axis_off()
    height = 1 / aspect if aspect else max(p.shape[0] / p.shape[1] for p in pictures.values())
    for index, number in enumerate(frame_numbers):
        left, picture = 1.06 * index, pictures.get(int(number))
        if picture is None:
            axes.add_patch(Rectangle((left, 0), 1, height, facecolor=PANEL, edgecolor="none"))
            axes.text(left + 0.5, height / 2, "no frame", fontsize=6, color=GRAY, ha="center", va="center")
            continue
        bottom = height if aspect else picture.shape[0] / picture.shape[1]
        axes.imshow(_print_size(picture), extent=(left, left + 1, bottom, 0), aspect="auto")
    axes.set_xlim(0, 1.06 * frames)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal", anchor="W")


def _print_size(picture: np.ndarray) -> np.ndarray:
    """Return the picture reduced to print size."""
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((PANEL_PIXELS, 2 * PANEL_PIXELS))
    return np.asarray(image)


def _bars(axes: Axes, clip: ClipView, frame_numbers: np.ndarray) -> None:
    """Draw the timeline: a labeled bar per gloss, and a tick per skeleton."""
    axes.set_ylim(0, 1)
    axes.set_xlim(0, len(clip.poses))
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.set_yticks([])
    axes.set_xticks(frame_numbers + 0.5, [str(number) for number in frame_numbers], fontsize=6, color=GRAY)
    inches = axes.figure.get_figwidth() / len(clip.poses)  # type: ignore[union-attr]
    for index, (first, end) in enumerate(clip.spans):
        assigned = index < len(clip.kinds) and clip.kinds[index] == "assigned"
        color = gloss_color(clip, index)
        style = {"facecolor": GRAY_SPAN, "hatch": "////"} if assigned else {"facecolor": color}
        axes.barh(0.2, end - first, left=first, height=0.34, edgecolor=color, linewidth=1, **style)  # type: ignore[arg-type]
        name = clip.label_of(index)
        # Every second label is raised if it is longer than its bar, so that labels do not overlap.
        raised = index % 2 == 1 and len(name) * 0.07 > (end - first) * inches
        axes.text((first + end) / 2, 0.76 if raised else 0.46, name, fontsize=6.5, ha="center", color=BLACK)
