"""A clip on paper: moments as skeletons, the frames they were found in above, glosses as colored bars below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from signatlas.plots.animation import GRAY_SPAN, Showing, gloss_color
from signatlas.plots.figures import BLACK, GRAY, figure
from signatlas.plots.skeleton import DRAWN, LEGEND, PANEL, moment_box, moments, strip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCHES, PANEL_PIXELS = 1.5, 240


def filmstrip(
    shown: Showing,
    *,
    frames: int = 8,
    pictures: dict[int, np.ndarray] | None = None,
    whole: bool = True,
    credit: str | None = None,
) -> Figure:
    """Up to ``frames`` moments of a clip in a row of skeletons, with the frame numbers.

    ``pictures`` (frame number -> uint8 RGB [H, W, 3], of the numbers that :func:`signatlas.plots.skeleton.moments`
    chooses) are a row above; a moment without one stays empty. Where they are the ``whole`` pictures in which the
    poses were found, the skeletons below stand in the same place. A clip with gloss spans has them below as bars on its
    time line, assigned ones hatched. ``credit`` is written at the foot.
    """
    chosen = moments(shown.poses, frames)
    whole = whole and bool(pictures)
    box = np.array([shown.aspect or 1.0, 1.0]) if whole else _box(shown, chosen)
    heights = [PANEL_INCHES * min(box[1] / box[0], 1.8) + (0.0 if pictures else 0.25)]
    if pictures:
        tallest = box[1] / box[0] if whole else max(p.shape[0] / p.shape[1] for p in pictures.values())
        heights.insert(0, PANEL_INCHES * min(tallest, 1.8) + 0.25)
    heights += [0.75] if shown.spans else []
    drawn = figure(max(PANEL_INCHES * frames, 4.0), sum(heights) + 0.2)
    rows = list(drawn.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    if pictures:
        _pictures(rows[0], chosen, pictures, frames, shown.aspect if whole else None)
        rows[0].set_title(shown.title, fontsize=9, loc="left")
    skeletons = rows[1 if pictures else 0]
    title = None if pictures else shown.title
    strip(shown.poses, frames=frames, axes=skeletons, title=title, aspect=shown.aspect, whole=whole)
    if shown.spans:
        _bars(rows[-1], shown, chosen)
    drawn.supxlabel(". ".join(filter(None, [LEGEND, credit])), fontsize=6, color=GRAY)
    return drawn


def _box(shown: Showing, chosen: np.ndarray) -> np.ndarray:
    """Width and height of a skeleton's panel, in the proportions that the strip will give it."""
    points = shown.poses[chosen][..., :2] * np.array([shown.aspect or 1.0, 1.0])
    return moment_box(points)[1] if np.isfinite(points[:, DRAWN]).all(-1).any() else np.ones(2)


def _pictures(
    axes: Axes, chosen: np.ndarray, pictures: dict[int, np.ndarray], frames: int, aspect: float | None
) -> None:
    """One picture a panel, as wide as the panels of the skeletons below; of its true ``aspect`` where it is given."""
    from matplotlib.patches import Rectangle

    axes.set_axis_off()
    height = 1 / aspect if aspect else max(p.shape[0] / p.shape[1] for p in pictures.values())
    for place, number in enumerate(chosen):
        left, picture = 1.06 * place, pictures.get(int(number))
        if picture is None:
            axes.add_patch(Rectangle((left, 0), 1, height, facecolor=PANEL, edgecolor="none"))
            axes.text(left + 0.5, height / 2, "no frame", fontsize=6, color=GRAY, ha="center", va="center")
            continue
        bottom = height if aspect else picture.shape[0] / picture.shape[1]
        axes.imshow(_small(picture), extent=(left, left + 1, bottom, 0), aspect="auto")
    axes.set_xlim(0, 1.06 * frames)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal", anchor="W")


def _small(picture: np.ndarray) -> np.ndarray:
    """No larger than it is printed."""
    from PIL import Image

    drawn = Image.fromarray(picture)
    drawn.thumbnail((PANEL_PIXELS, 2 * PANEL_PIXELS))
    return np.asarray(drawn)


def _bars(axes: Axes, shown: Showing, chosen: np.ndarray) -> None:
    """The time line: one bar a gloss with its name, and a tick for each moment drawn above."""
    axes.set_ylim(0, 1)
    axes.set_xlim(0, len(shown.poses))
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.set_yticks([])
    axes.set_xticks(chosen + 0.5, [str(number) for number in chosen], fontsize=6, color=GRAY)
    inches = axes.figure.get_figwidth() / len(shown.poses)  # type: ignore[union-attr]
    for place, (first, end) in enumerate(shown.spans):
        assigned = place < len(shown.kinds) and shown.kinds[place] == "assigned"
        color = gloss_color(shown, place)
        style = {"facecolor": GRAY_SPAN, "hatch": "////"} if assigned else {"facecolor": color}
        axes.barh(0.2, end - first, left=first, height=0.34, edgecolor=color, linewidth=1, **style)  # type: ignore[arg-type]
        name = shown.named(place)
        # A name longer than its bar is lifted every second time, so that neighbors do not run into each other.
        lifted = place % 2 == 1 and len(name) * 0.07 > (end - first) * inches
        axes.text((first + end) / 2, 0.76 if lifted else 0.46, name, fontsize=6.5, ha="center", color=BLACK)
