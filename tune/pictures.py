"""Pictures of a study: every trial's curve, and the metric over each searched setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from signatlas.plots.figures import BLUE, GRAY, ORANGE, VERMILION, figure, save
from tune.record import Trial, ranked
from tune.study import Study, encoded


def draw(study: Study, trials: list[Trial], place: Path) -> dict[str, str]:
    """Save curves.png and settings.png; returns {file: caption}."""
    valued = [trial for trial in ranked(trials, study.mode) if trial.best(study.mode)]
    _curves(study, valued, place / "curves.png")
    _settings(study, valued, place / "settings.png")
    return {
        "curves.png": f"{study.metric} of every trial over its epochs; the hand-set recipe is orange, the best blue, a "
        "cross is where the scheduler stopped a trial or where it failed.",
        "settings.png": f"best {study.metric} of each trial over each searched setting; hollow marks are trials that "
        "were stopped early or failed, the orange star is the hand-set recipe.",
    }


def _color(trial: Trial, best: Trial) -> str:
    return ORANGE if trial.hand_set else BLUE if trial is best else GRAY


def _curves(study: Study, trials: list[Trial], path: Path) -> None:
    from matplotlib.ticker import MaxNLocator

    picture = figure(8, 4.2)
    axes = picture.subplots()
    for trial in reversed(trials):
        epochs, values = zip(*sorted(trial.values.items()), strict=True)
        marked = trial.hand_set or trial is trials[0]
        label = f"trial {trial.number}{', hand-set' if trial.hand_set else ''}{', best' if trial is trials[0] else ''}"
        axes.plot(epochs, values, color=_color(trial, trials[0]), linewidth=2.2 if marked else 1, marker=".",
                  zorder=3 if marked else 2, label=label if marked else None)  # fmt: skip
        if trial.status != "finished":
            axes.plot(epochs[-1:], values[-1:], color=VERMILION, marker="x", zorder=4)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(study.metric)
    axes.legend(fontsize=8, frameon=False)
    axes.grid(alpha=0.25)
    save(picture, path)


def _settings(study: Study, trials: list[Trial], path: Path) -> None:
    columns = min(3, len(study.space))
    rows = -(-len(study.space) // columns)
    picture = figure(4 * columns, 3.2 * rows)
    grid = picture.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(study.space) :]:
        axes.set_axis_off()
    for axes, (name, values) in zip(grid, study.space.items(), strict=False):
        _setting(axes, name, values, study, trials)
    save(picture, path)


def _setting(axes: Any, name: str, values: Any, study: Study, trials: list[Trial]) -> None:
    places = [encoded(value) for value in values.choice] if values.choice is not None else None
    for trial in trials:
        value = trial.settings[name]
        best = trial.best(study.mode)
        color = _color(trial, trials[0])
        axes.plot(
            places.index(encoded(value)) if places is not None else value,
            best[0] if best else float("nan"),
            linestyle="none",
            marker="*" if trial.hand_set else "o",
            markersize=12 if trial.hand_set else 6,
            color=color,
            markerfacecolor=color if trial.status == "finished" else "none",
            zorder=3 if trial.hand_set or trial is trials[0] else 2,
        )
    if places is not None:
        axes.set_xticks(range(len(places)), places, rotation=30 if len(places) > 4 else 0)
        axes.set_xlim(-0.5, len(places) - 0.5)
    elif values.kind.startswith("log"):
        axes.set_xscale("log")
    if places is None:
        low, high = values.ends
        room = (high / low) ** 0.04 if values.kind.startswith("log") else (high - low) * 0.04
        axes.set_xlim(*((low / room, high * room) if values.kind.startswith("log") else (low - room, high + room)))
    axes.set_xlabel(name)
    axes.set_ylabel(study.metric)
    axes.grid(alpha=0.25)
