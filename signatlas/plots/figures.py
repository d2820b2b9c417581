"""Matplotlib figures without pyplot: no global state, no display, a palette safe for color-blind readers."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito, Color Universal Design (2008).
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
SKY, PURPLE, YELLOW, BLACK = "#56B4E9", "#CC79A7", "#F0E442", "#000000"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK, YELLOW)
GRAY = "#8A8A8A"


def figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, with constrained layout."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a PNG atomically."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _disable_math(figure)
    handle, partial = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            figure.savefig(stream, format="png")
        os.chmod(partial, 0o644)
        os.replace(partial, target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _disable_math(figure: Figure) -> None:
    """Draw dollar signs in user data literally; only tick labels of logarithmic axes need mathtext."""
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter

    numbers: set[Text] = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(axis.get_major_formatter(), LogFormatter):
                numbers |= set(axis.findobj(Text)) - {axis.label}
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text not in numbers:
            text.set_parse_math(False)
