"""Extraction quality of a corpus: a histogram of each measure by source, and the worst clips."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from signatlas.errors import CorpusError
from signatlas.plots.figures import CYCLE, GRAY, figure, save
from signatlas.pose.quality import JUMP_SPEED, ClipQuality, badness, worst_first

PANELS = (
    ("any", "frames with a hand"),
    ("left", "frames with the left hand"),
    ("right", "frames with the right hand"),
    ("jumps", f"wrist faster than {JUMP_SPEED:g} palms/s"),
    ("off_screen", "points outside the image"),
)


def quality(
    clips: Sequence[ClipQuality], path: str | os.PathLike[str], *, title: str | None = None, worst: int = 8
) -> None:
    """Save a PNG with a histogram of each measure (0..1) by source and the ids of the ``worst`` clips.

    Raises CorpusError if there are no clips.
    """
    if not clips:
        raise CorpusError("the corpus has no clips to plot")
    sources = sorted({clip.source for clip in clips})
    chart = figure(11, 5.6)
    grid = chart.subplots(2, 3).ravel()
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
    _list_worst(grid[5], [clip for clip in worst_first(clips) if badness(clip.quality) > 0][:worst])
    if title:
        chart.suptitle(title)
    save(chart, path)


def _list_worst(axes: object, clips: Sequence[ClipQuality]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    axes.set_axis_off()
    axes.set_title("worst clips: hand, jumps, off-screen", fontsize=9, loc="left")
    if not clips:
        axes.text(0, 0.95, "none: a hand in every frame, no jumps", fontsize=8, va="top", color=GRAY)
    for position, clip in enumerate(clips):
        measures = clip.quality
        name = clip.id if len(clip.id) <= 34 else f"...{clip.id[-31:]}"
        text = f"{measures.any:>4.0%} {measures.jumps:>4.0%} {measures.off_screen:>4.0%}  {name}"
        axes.text(0, 0.95 - 0.12 * position, text, fontsize=8, va="top", family="monospace")
