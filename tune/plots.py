"""Plots of a study: the curve of every trial, and the metric against each searched setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from signatlas.plots.figures import BLUE, GRAY, ORANGE, VERMILION, figure, save
from tune.record import Trial, ranked
from tune.study import Study, encoded


def draw(study: Study, trials: list[Trial], folder: Path) -> dict[str, str]:
    """Save curves.png and settings.png in ``folder``; return their captions by file name."""
    evaluated = [trial for trial in ranked(trials, study.mode) if trial.best(study.mode)]
    _curves(study, evaluated, folder / "curves.png")
    _settings(study, evaluated, folder / "settings.png")
    return {
        "curves.png": f"{study.metric} of every trial by epoch: the hand-set recipe in orange, the best trial in blue. "
        "Crosses mark trials that the scheduler stopped or that failed.",
        "settings.png": f"Best {study.metric} of each trial against each searched setting. The orange star is the "
        "hand-set recipe; hollow marks are trials that were stopped early or failed.",
    }


def _color(trial: Trial, best: Trial) -> str:
    return ORANGE if trial.hand_set else BLUE if trial is best else GRAY


def _curves(study: Study, trials: list[Trial], path: Path) -> None:
    from matplotlib.ticker import MaxNLocator

    fig = figure(8, 4.2)
    axes = fig.subplots()
    for trial in reversed(trials):
        epochs, values = zip(*sorted(trial.values.items()), strict=True)
        highlighted = trial.hand_set or trial is trials[0]
        label = f"trial {trial.number}{', hand-set' if trial.hand_set else ''}{', best' if trial is trials[0] else ''}"
        axes.plot(epochs, values, color=_color(trial, trials[0]), linewidth=2.2 if highlighted else 1, marker=".",
                  zorder=3 if highlighted else 2, label=label if highlighted else None)  # fmt: skip
        if trial.status != "finished":
            axes.plot(epochs[-1:], values[-1:], color=VERMILION, marker="x", zorder=4)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(study.metric)
    axes.legend(fontsize=8, frameon=False)
    axes.grid(alpha=0.25)
    save(fig, path)


def _settings(study: Study, trials: list[Trial], path: Path) -> None:
    columns = min(3, len(study.space))
    rows = -(-len(study.space) // columns)
    fig = figure(4 * columns, 3.2 * rows)
    grid = fig.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(study.space) :]:
        axes.set_axis_off()
    for axes, (name, values) in zip(grid, study.space.items(), strict=False):
        _setting(axes, name, values, study, trials)
    save(fig, path)


def _setting(axes: Any, name: str, values: Any, study: Study, trials: list[Trial]) -> None:
    ticks = [encoded(value) for value in values.choice] if values.choice is not None else None
    for trial in trials:
        value = trial.settings[name]
        best = trial.best(study.mode)
        color = _color(trial, trials[0])
        axes.plot(
            ticks.index(encoded(value)) if ticks is not None else value,
            best[0] if best else float("nan"),
            linestyle="none",
            marker="*" if trial.hand_set else "o",
            markersize=12 if trial.hand_set else 6,
            color=color,
            markerfacecolor=color if trial.status == "finished" else "none",
            zorder=3 if trial.hand_set or trial is trials[0] else 2,
        )
    if ticks is not None:
        axes.set_xticks(range(len(ticks)), ticks, rotation=30 if len(ticks) > 4 else 0)
        axes.set_xlim(-0.5, len(ticks) - 0.5)
    elif values.kind.startswith("log"):
        axes.set_xscale("log")
    if ticks is None:
        low, high = values.ends
        margin = (high / low) ** 0.04 if values.kind.startswith("log") else (high - low) * 0.04
        limits = (low / margin, high * margin) if values.kind.startswith("log") else (low - margin, high + margin)
        axes.set_xlim(*limits)
    axes.set_xlabel(name)
    axes.set_ylabel(study.metric)
    axes.grid(alpha=0.25)
