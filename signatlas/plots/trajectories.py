"""Classes of negative pairs: shares, similarity over checkpoints, early against late similarity (SCL-SLT)."""

from __future__ import annotations

import os

import numpy as np

from signatlas.plots.figures import BLACK, BLUE, GRAY, GREEN, ORANGE, VERMILION, figure, save
from signatlas.sampling.trajectories.classes import CLASSES, NegativeClasses

COLORS = dict(zip(CLASSES, (BLUE, ORANGE, VERMILION, GREEN), strict=True))
PAPER = {"H->L": 0.359, "H->H": 0.319, "L->H": 0.178}  # of SCL-SLT, on PHOENIX-2014T; the rest is L->L


def classes(negatives: NegativeClasses, path: str | os.PathLike[str], *, title: str | None = None) -> None:
    """Save a PNG of three panels; dashed gray lines mark the shares that SCL-SLT reports."""
    chart = figure(13.5, 4.2)
    shares, curves, histogram = chart.subplots(1, 3, width_ratios=(1, 1.5, 1.2))
    _shares(shares, negatives)
    _curves(curves, negatives)
    _early_against_late(chart, histogram, negatives)
    if title:
        chart.suptitle(title)
    save(chart, path)


def _shares(axes, negatives: NegativeClasses) -> None:  # type: ignore[no-untyped-def]
    for position, name in enumerate(CLASSES):
        share = negatives.shares[name]
        axes.bar(position, share, color=COLORS[name], width=0.7)
        axes.text(position, share + 0.008, f"{share:.1%}", ha="center", fontsize=9)
        reported = PAPER.get(name, 1 - sum(PAPER.values()))
        axes.hlines(
            reported,
            position - 0.42,
            position + 0.42,
            colors=GRAY,
            linestyles="--",
            label=None if position else "SCL-SLT",
        )
    axes.set_xticks(range(len(CLASSES)), CLASSES)
    axes.set_ylim(0, max(*negatives.shares.values(), *PAPER.values()) * 1.25)
    axes.set_ylabel("share of negatives")
    axes.set_title(f"{negatives.pairs:,} negatives")
    axes.legend(fontsize=8, frameon=False)


def _curves(axes, negatives: NegativeClasses) -> None:  # type: ignore[no-untyped-def]
    for name in CLASSES:
        if negatives.curves[name][0] is not None:
            axes.plot(negatives.epochs, negatives.curves[name], color=COLORS[name], marker=".", label=name)
    axes.plot(negatives.epochs, negatives.positives, color=BLACK, linestyle="--", label="clip and its text")
    for epoch, threshold in zip((negatives.epochs[0], negatives.epochs[-1]), negatives.thresholds, strict=True):
        axes.plot(
            epoch,
            threshold,
            marker="_",
            markersize=18,
            color=GRAY,
            label="threshold" if epoch == negatives.epochs[0] else None,
        )
    if len(negatives.epochs) <= 20:
        axes.set_xticks(negatives.epochs)
    axes.set_xlabel("epoch of the reference run")
    axes.set_ylabel("mean similarity")
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    axes.grid(alpha=0.25)
    axes.set_title("similarity over checkpoints")


def _early_against_late(chart, axes, negatives: NegativeClasses) -> None:  # type: ignore[no-untyped-def]
    """Draw a histogram of early against late similarity, divided into the four classes."""
    counts, edges = np.array(negatives.histogram, float), np.array(negatives.edges)
    image = axes.pcolormesh(edges, edges, np.ma.masked_equal(counts.T, 0), cmap="Grays", norm="log")
    chart.colorbar(image, ax=axes, label="pairs", shrink=0.8)
    axes.axvline(negatives.thresholds[0], color=GRAY, linewidth=1)
    axes.axhline(negatives.thresholds[1], color=GRAY, linewidth=1)
    axes.plot(edges[[0, -1]], edges[[0, -1]], color=GRAY, linestyle=":", linewidth=1)
    corners = {"H->L": (0.97, 0.03), "H->H": (0.97, 0.97), "L->H": (0.03, 0.97), "L->L": (0.03, 0.03)}
    for name, (x, y) in corners.items():
        axes.text(
            x, y, name, transform=axes.transAxes, color=COLORS[name], weight="bold",
            bbox={"color": "white", "alpha": 0.7, "pad": 1},
            ha="right" if x > 0.5 else "left", va="top" if y > 0.5 else "bottom",
        )  # fmt: skip
    axes.set_aspect("equal")
    axes.set_xlabel(f"similarity at epoch {negatives.epochs[0]}")
    axes.set_ylabel(f"at epoch {negatives.epochs[-1]}")
    axes.set_title("early against late similarity")
