"""What is known of each trial: kept in a file after every event, drawn as a live table."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from ray.tune import Callback, Stopper

from signatlas.files import write_text_atomically
from tune.search import TIME, settings_of
from tune.study import Point, Study, shown
from tune.trial import better

FILE = "trials.json"
ENDED = ("finished", "stopped", "failed")


@dataclass
class Trial:
    """One line of the study's table."""

    id: str
    number: int
    settings: Point
    hand_set: bool
    status: str = "running"  # then finished (trained to its end), stopped (by the scheduler) or failed
    reason: str = ""
    values: dict[int, float] = field(default_factory=dict)  # by epochs done
    seconds: float = 0.0  # of all processes that worked at it
    reported: list[str] = field(default_factory=list)  # other figures, when the study's metric is not among them

    def best(self, mode: str) -> tuple[float, int] | None:
        """The best value and after how many epochs it was reached first."""
        found: tuple[float, int] | None = None
        for epochs, value in sorted(self.values.items()):
            if value == value and (found is None or better(value, found[0], mode) != found[0]):
                found = value, epochs
        return found


def read(folder: Path) -> list[Trial]:
    """The trials of a study by number; none when it has not begun."""
    try:
        raw = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    for row in raw:
        row["values"] = {int(epochs): value for epochs, value in row["values"].items()}
    return sorted((Trial(**row) for row in raw), key=lambda trial: trial.number)


def write(folder: Path, trials: list[Trial]) -> None:
    write_text_atomically(folder / FILE, json.dumps([asdict(trial) for trial in trials], indent=1) + "\n")


def ranked(trials: list[Trial], mode: str) -> list[Trial]:
    """The best first; those without a value last."""

    def key(trial: Trial) -> tuple[bool, float, int]:
        best = trial.best(mode)
        return best is None, 0.0 if best is None else -best[0] if mode == "max" else best[0], trial.number

    return sorted(trials, key=key)


class Recorder(Callback):
    """Hears of every event of the study; Tune keeps a copy of it, so it holds nothing but plain data."""

    display: Any = None  # of this process: set before the study starts, None says nothing

    def __init__(self, folder: Path, study: Study):
        self.folder, self.study = folder, study
        self.begun: dict[str, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "study": self.study, "begun": {}}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.begun[trial.trial_id] = time.monotonic()
        self._change(trial, trials, status="running", reason="")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        values = {int(epochs): value for epochs, value in result.get("evaluated", [])}
        if "value" in result:
            values[int(result[TIME])] = float(result["value"])
        changes: dict[str, Any] = {"values": values, "reported": list(result.get("reported", []))}
        if result.get("finished"):
            changes["status"] = "finished"
        self._change(trial, trials, **changes)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._change(trial, trials, ended=True)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._change(trial, trials, status="failed", reason=_reason(trial))

    def _change(self, trial: Any, trials: list[Any], *, ended: bool = False, **changes: Any) -> None:
        # Tune may not know a trial that was started right before a kill: it starts another.
        number = {other.trial_id: place for place, other in enumerate(trials)}
        known = [row for row in read(self.folder) if row.id in number]
        row = next((row for row in known if row.id == trial.trial_id), None)
        if row is None:
            settings = settings_of(trial.config, self.study)
            row = Trial(trial.trial_id, number[trial.trial_id], settings, number[trial.trial_id] == 0)
            known.append(row)
        row.values |= changes.pop("values", {})
        for name, value in changes.items():
            setattr(row, name, value)
        if ended and row.status == "running":
            row.status = "stopped"
        now = time.monotonic()
        row.seconds += now - self.begun.get(row.id, now)
        self.begun[row.id] = now
        write(self.folder, known)
        if Recorder.display is not None:
            Recorder.display.show(known, row)


class MissingMetric(Stopper):
    """Ends the study at the first evaluation that does not report its metric: no other trial would."""

    def __init__(self) -> None:
        self.missing = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.missing = self.missing or bool(result.get("reported"))
        return self.missing

    def stop_all(self) -> bool:
        return self.missing


class Display:
    """A live table on a terminal, one line an event elsewhere."""

    def __init__(self, study: Study, count: int, output: TextIO):
        from rich.console import Console
        from rich.live import Live

        self.study, self.count = study, count
        self.console = Console(file=output)
        self.output, self.shown = output, ""
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None

    def __enter__(self) -> Display:
        if self.live is not None:
            self.live.start()
        Recorder.display = self
        return self

    def __exit__(self, *_: object) -> None:
        Recorder.display = None
        if self.live is not None:
            self.live.stop()

    def show(self, trials: list[Trial], changed: Trial) -> None:
        if self.live is not None:
            self.live.update(table(trials, self.study, self.count), refresh=True)
            return
        values = f"epoch {max(changed.values)}  " if changed.values else ""
        if (best := changed.best(self.study.mode)) is not None:
            values += f"{self.study.metric} {changed.values[max(changed.values)]:.4g}  best {best[0]:.4g}  "
        settings = "  ".join(f"{path} {shown(value)}" for path, value in changed.settings.items())
        line = f"trial {changed.number} of {self.count}  {changed.status}  {values}{settings}"
        line += f"  ({changed.reason})" if changed.reason else ""
        if line != self.shown:
            self.shown = line
            print(line, file=self.output, flush=True)


def table(trials: list[Trial], study: Study, count: int | None = None) -> Any:
    """A rich table of the trials, the best first."""
    from rich.box import SIMPLE
    from rich.table import Table

    ended = sum(trial.status in ENDED for trial in trials)
    made = Table(
        box=SIMPLE, title=f"{study.name}: {ended} of {count or len(trials)} trials, {study.metric} ({study.mode})"
    )
    made.caption = "* set by hand"
    names = short_names(study)
    for column in ("trial", *names, study.metric, "epoch", "s", "status"):
        left = column in names or column == "status"
        made.add_column(column, justify="left" if left else "right", overflow="fold")
    for trial in ranked(trials, study.mode):
        best = trial.best(study.mode)
        made.add_row(
            f"{trial.number}{'*' if trial.hand_set else ''}",
            *(shown(value) for value in trial.settings.values()),
            "-" if best is None else f"{best[0]:.4f}",
            "-" if best is None else f"{best[1]} of {max(trial.values)}",
            f"{trial.seconds:.0f}",
            trial.status + (f": {trial.reason}" if trial.reason else ""),
        )
    return made


def short_names(study: Study) -> list[str]:
    """The settings by the last part of their path, where that is enough to tell them apart."""
    ends = [path.rpartition(".")[2] for path in study.space]
    return [end if ends.count(end) == 1 else path for path, end in zip(study.space, ends, strict=True)]


def _reason(trial: Any) -> str:
    """The line that the trial's driver gave, or the first one of what killed it."""
    # Tune copies this file to the study's storage later: here it is still in the trial's folder on this machine.
    written = Path(trial.error_file or "").read_text(encoding="utf-8") if trial.error_file else ""
    last = written.rpartition("Failure # ")[2].partition("\n")[2].strip()  # the first line counts and dates it
    _, mark, line = last.rpartition("TrialFailed: ")
    said = (line if mark else last).splitlines()
    return said[0][:300] if said else "it ended without saying why"
