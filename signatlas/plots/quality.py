"""The quality of a corpus' clips: a histogram of each measure by source, and the worst clips named."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from signatlas.errors import CorpusError
from signatlas.plots.figures import CYCLE, GRAY, figure, save
from signatlas.pose.quality import JUMP_SPEED, Named, badness, worst_first

PANELS = (
    ("any", "frames with a hand"),
    ("left", "frames with the left hand"),
    ("right", "frames with the right hand"),
    ("jumps", f"wrist faster than {JUMP_SPEED:g} palms/s"),
    ("off_screen", "points outside the picture"),
)


def quality(clips: Sequence[Named], path: str | os.PathLike[str], *, title: str | None = None, worst: int = 8) -> None:
    """Save a PNG: shares of clips over each measure (0..1), a color a source, and the ``worst`` clips by id.

    Raises CorpusError when there is no clip.
    """
    if not clips:
        raise CorpusError("no clip to draw")
    sources = sorted({clip.source for clip in clips})
    picture = figure(11, 5.6)
    grid = picture.subplots(2, 3).ravel()
    for axes, (measure, label) in zip(grid, PANELS, strict=False):
        for source, color in zip(sources, CYCLE * (1 + len(sources) // len(CYCLE)), strict=False):
            values = [getattr(clip.quality, measure) for clip in clips if clip.source == source]
            weights = np.full(len(values), 1 / len(values))
            axes.hist(
                values,
                bins=20,
                range=(0, 1),
                weights=weights,
                histtype="step",
                color=color,
                linewidth=1.6,
                label=source,
            )
        axes.set_xlabel(label, fontsize=9)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        axes.grid(alpha=0.25)
    grid[0].set_ylabel("clips", fontsize=9)
    grid[3].set_ylabel("clips", fontsize=9)
    grid[0].legend(fontsize=8, frameon=False, loc="upper left")
    _name_the_worst(grid[5], [clip for clip in worst_first(clips) if badness(clip.quality) > 0][:worst])
    if title:
        picture.suptitle(title)
    save(picture, path)


def _name_the_worst(axes: object, clips: Sequence[Named]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    axes.set_axis_off()
    axes.set_title("worst clips: hand, jumps, off-screen", fontsize=9, loc="left")
    if not clips:
        axes.text(0, 0.95, "none: a hand in every frame, no jumps", fontsize=8, va="top", color=GRAY)
    for place, clip in enumerate(clips):
        one = clip.quality
        name = clip.id if len(clip.id) <= 34 else f"...{clip.id[-31:]}"
        text = f"{one.any:>4.0%} {one.jumps:>4.0%} {one.off_screen:>4.0%}  {name}"
        axes.text(0, 0.95 - 0.12 * place, text, fontsize=8, va="top", family="monospace")
