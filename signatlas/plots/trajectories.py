"""What became of negatives: shares of their classes, similarities over the checkpoints, early against late."""

from __future__ import annotations

import os

import numpy as np

from signatlas.plots.figures import BLACK, BLUE, GRAY, GREEN, ORANGE, VERMILION, figure, save
from signatlas.sampling.trajectories.classes import CLASSES, NegativeClasses

COLORS = dict(zip(CLASSES, (BLUE, ORANGE, VERMILION, GREEN), strict=True))
PAPER = {"H->L": 0.359, "H->H": 0.319, "L->H": 0.178}  # of SCL-SLT, on PHOENIX-2014T; the rest is L->L


def classes(found: NegativeClasses, path: str | os.PathLike[str], *, title: str | None = None) -> None:
    """Save a PNG of three panels; gray marks the shares that SCL-SLT reports."""
    picture = figure(13.5, 4.2)
    shares, curves, ends = picture.subplots(1, 3, width_ratios=(1, 1.5, 1.2))
    _shares(shares, found)
    _curves(curves, found)
    _ends(picture, ends, found)
    if title:
        picture.suptitle(title)
    save(picture, path)


def _shares(axes, found: NegativeClasses) -> None:  # type: ignore[no-untyped-def]
    for place, name in enumerate(CLASSES):
        share = found.shares[name]
        axes.bar(place, share, color=COLORS[name], width=0.7)
        axes.text(place, share + 0.008, f"{share:.1%}", ha="center", fontsize=9)
        reported = PAPER.get(name, 1 - sum(PAPER.values()))
        axes.hlines(
            reported, place - 0.42, place + 0.42, colors=GRAY, linestyles="--", label=None if place else "SCL-SLT"
        )
    axes.set_xticks(range(len(CLASSES)), CLASSES)
    axes.set_ylim(0, max(*found.shares.values(), *PAPER.values()) * 1.25)
    axes.set_ylabel("share of negatives")
    axes.set_title(f"{found.pairs:,} negatives")
    axes.legend(fontsize=8, frameon=False)


def _curves(axes, found: NegativeClasses) -> None:  # type: ignore[no-untyped-def]
    for name in CLASSES:
        if found.curves[name][0] is not None:
            axes.plot(found.epochs, found.curves[name], color=COLORS[name], marker=".", label=name)
    axes.plot(found.epochs, found.positives, color=BLACK, linestyle="--", label="clip and its text")
    for epoch, limit in zip((found.epochs[0], found.epochs[-1]), found.thresholds, strict=True):
        axes.plot(
            epoch, limit, marker="_", markersize=18, color=GRAY, label="threshold" if epoch == found.epochs[0] else None
        )
    if len(found.epochs) <= 20:
        axes.set_xticks(found.epochs)
    axes.set_xlabel("epoch of the reference run")
    axes.set_ylabel("mean similarity")
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    axes.grid(alpha=0.25)
    axes.set_title("along the checkpoints")


def _ends(picture, axes, found: NegativeClasses) -> None:  # type: ignore[no-untyped-def]
    """Early against late as a histogram, cut into the four classes; on the diagonal nothing has changed."""
    counts, edges = np.array(found.histogram, float), np.array(found.edges)
    image = axes.pcolormesh(edges, edges, np.ma.masked_equal(counts.T, 0), cmap="Grays", norm="log")
    picture.colorbar(image, ax=axes, label="pairs", shrink=0.8)
    axes.axvline(found.thresholds[0], color=GRAY, linewidth=1)
    axes.axhline(found.thresholds[1], color=GRAY, linewidth=1)
    axes.plot(edges[[0, -1]], edges[[0, -1]], color=GRAY, linestyle=":", linewidth=1)
    corners = {"H->L": (0.97, 0.03), "H->H": (0.97, 0.97), "L->H": (0.03, 0.97), "L->L": (0.03, 0.03)}
    for name, (x, y) in corners.items():
        axes.text(
            x, y, name, transform=axes.transAxes, color=COLORS[name], weight="bold",
            bbox={"color": "white", "alpha": 0.7, "pad": 1},
            ha="right" if x > 0.5 else "left", va="top" if y > 0.5 else "bottom",
        )  # fmt: skip
    axes.set_aspect("equal")
    axes.set_xlabel(f"similarity at epoch {found.epochs[0]}")
    axes.set_ylabel(f"at epoch {found.epochs[-1]}")
    axes.set_title("early and late")
