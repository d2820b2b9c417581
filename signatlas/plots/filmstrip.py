"""A clip on paper: moments as skeletons, the frames they were found in above, glosses as coloured bars below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from signatlas.plots.animation import GREY_SPAN, Showing, gloss_colour
from signatlas.plots.figures import BLACK, GREY, figure
from signatlas.plots.skeleton import LEGEND, PANEL, moments, strip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCHES = 1.5


def filmstrip(
    shown: Showing,
    *,
    frames: int = 8,
    pictures: dict[int, np.ndarray] | None = None,
    credit: str | None = None,
) -> Figure:
    """Up to ``frames`` moments of a clip in a row of skeletons, with the frame numbers.

    ``pictures`` (frame number -> uint8 RGB [H, W, 3], of the numbers that :func:`signatlas.plots.skeleton.moments`
    chooses) are a row above; a moment without one stays empty. A clip with gloss spans has them below as bars on its
    time line, assigned ones hatched. ``credit`` is written at the foot.
    """
    chosen = moments(shown.poses, frames)
    tallest = 0.0 if not pictures else max(p.shape[0] / p.shape[1] for p in pictures.values())
    heights = [1.9] + ([PANEL_INCHES * min(tallest, 1.8)] if pictures else []) + ([0.75] if shown.spans else [])
    drawn = figure(max(PANEL_INCHES * frames, 4.0), sum(heights) + 0.25)
    rows = list(drawn.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    if pictures:
        _pictures(rows[0], chosen, pictures, frames)
        rows[0].set_title(shown.title, fontsize=9, loc="left")
    skeletons = rows[1 if pictures else 0]
    title = None if pictures else shown.title
    strip(shown.poses, frames=frames, axes=skeletons, title=title, aspect=shown.aspect)
    if shown.spans:
        _bars(rows[-1], shown, chosen)
    drawn.supxlabel(". ".join(filter(None, [LEGEND, credit])), fontsize=6, color=GREY)
    return drawn


def _pictures(axes: Axes, chosen: np.ndarray, pictures: dict[int, np.ndarray], frames: int) -> None:
    """One picture a panel, as wide as the panels of the skeletons below."""
    from matplotlib.patches import Rectangle

    axes.set_axis_off()
    sizes = [picture.shape for picture in pictures.values()]
    height = max(rows / columns for rows, columns, _ in sizes)
    for place, number in enumerate(chosen):
        left, picture = 1.06 * place, pictures.get(int(number))
        if picture is None:
            axes.add_patch(Rectangle((left, 0), 1, height, facecolor=PANEL, edgecolor="none"))
            axes.text(left + 0.5, height / 2, "no frame", fontsize=6, color=GREY, ha="center", va="center")
            continue
        shown = picture[:: max(1, picture.shape[1] // 400), :: max(1, picture.shape[1] // 400)]
        axes.imshow(shown, extent=(left, left + 1, picture.shape[0] / picture.shape[1], 0), aspect="auto")
        axes.text(left + 0.03, 0.97 * height, str(number), va="bottom", fontsize=6, color=GREY)
    axes.set_xlim(0, 1.06 * frames)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal", anchor="W")


def _bars(axes: Axes, shown: Showing, chosen: np.ndarray) -> None:
    """The time line: one bar a gloss with its name, and a tick for each moment drawn above."""
    axes.set_ylim(0, 1)
    axes.set_xlim(0, len(shown.poses))
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.set_yticks([])
    axes.set_xticks(chosen + 0.5, [str(number) for number in chosen], fontsize=6, color=GREY)
    inches = axes.figure.get_figwidth() / len(shown.poses)  # type: ignore[union-attr]
    for place, (first, end) in enumerate(shown.spans):
        assigned = place < len(shown.kinds) and shown.kinds[place] == "assigned"
        colour = gloss_colour(shown, place)
        style = {"facecolor": GREY_SPAN, "hatch": "////"} if assigned else {"facecolor": colour}
        axes.barh(0.2, end - first, left=first, height=0.34, edgecolor=colour, linewidth=1, **style)  # type: ignore[arg-type]
        name = shown.named(place)
        # A name longer than its bar is lifted every second time, so that neighbours do not run into each other.
        lifted = place % 2 == 1 and len(name) * 0.07 > (end - first) * inches
        axes.text((first + end) / 2, 0.76 if lifted else 0.46, name, fontsize=6.5, ha="center", color=BLACK)
