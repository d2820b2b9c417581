"""The record of a study's trials: a JSON file that a Tune callback updates after every event."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ray.tune import Callback, Stopper

from cluster.ray_internals import last_failure
from signatlas.files import write_text_atomically
from tune.search import settings_of
from tune.study import TIME, Point, Study, better

FILE = "trials.json"
ENDED = ("finished", "stopped", "failed")


@dataclass
class Trial:
    """One trial of a study."""

    id: str
    number: int
    settings: Point
    hand_set: bool
    status: str = "running"  # then finished (trained to its end), stopped (by the scheduler) or failed
    reason: str = ""
    values: dict[int, float] = field(default_factory=dict)  # metric by number of completed epochs
    seconds: float = 0.0  # running time over all attempts
    reported: list[str] = field(default_factory=list)  # reported metrics, if the study's metric is not among them

    def best(self, mode: str) -> tuple[float, int] | None:
        """Return the best value and the number of epochs after which it was first reached."""
        best: tuple[float, int] | None = None
        for epochs, value in sorted(self.values.items()):
            if value == value and (best is None or better(value, best[0], mode) != best[0]):
                best = value, epochs
        return best


def read(folder: Path) -> list[Trial]:
    """Return the trials of a study by number; an empty list if it has not started."""
    try:
        rows = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    for row in rows:
        row["values"] = {int(epochs): value for epochs, value in row["values"].items()}
    return sorted((Trial(**row) for row in rows), key=lambda trial: trial.number)


def write(folder: Path, trials: list[Trial]) -> None:
    """Write the trials of a study in one step."""
    write_text_atomically(folder / FILE, json.dumps([asdict(trial) for trial in trials], indent=1) + "\n")


def ranked(trials: list[Trial], mode: str) -> list[Trial]:
    """Return the trials, the best first, those without a value last."""

    def key(trial: Trial) -> tuple[bool, float, int]:
        best = trial.best(mode)
        return best is None, 0.0 if best is None else -best[0] if mode == "max" else best[0], trial.number

    return sorted(trials, key=key)


class Recorder(Callback):
    """Records every event of a study. Tune pickles it, so that it has no attributes but plain data."""

    display: Any = None  # a tune.display.Display of this process, or None for no output

    def __init__(self, folder: Path, study: Study):
        self.folder, self.study = folder, study
        self.updated: dict[str, float] = {}  # trial id -> monotonic time of its last event

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "study": self.study, "updated": {}}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.updated[trial.trial_id] = time.monotonic()
        self._update(trial, trials, status="running", reason="")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        values = {int(epochs): value for epochs, value in result.get("evaluated", [])}
        if "value" in result:
            values[int(result[TIME])] = float(result["value"])
        changes: dict[str, Any] = {"values": values, "reported": list(result.get("reported", []))}
        if result.get("finished"):
            changes["status"] = "finished"
        self._update(trial, trials, **changes)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._update(trial, trials, ended=True)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._update(trial, trials, status="failed", reason=_failure_reason(trial))

    def _update(self, trial: Any, trials: list[Any], *, ended: bool = False, **changes: Any) -> None:
        # A trial that started right before a kill may be unknown to Tune, which then starts another: drop its row.
        numbers = {other.trial_id: number for number, other in enumerate(trials)}
        rows = [row for row in read(self.folder) if row.id in numbers]
        row = next((row for row in rows if row.id == trial.trial_id), None)
        if row is None:
            number = numbers[trial.trial_id]
            row = Trial(trial.trial_id, number, settings_of(trial.config, self.study), hand_set=number == 0)
            rows.append(row)
        row.values |= changes.pop("values", {})
        for name, value in changes.items():
            setattr(row, name, value)
        if ended and row.status == "running":
            row.status = "stopped"
        now = time.monotonic()
        row.seconds += now - self.updated.get(row.id, now)
        self.updated[row.id] = now
        write(self.folder, rows)
        if Recorder.display is not None:
            Recorder.display.update(rows, row)


class MissingMetric(Stopper):
    """Ends a study at the first evaluation without its metric: no other trial would report it."""

    def __init__(self) -> None:
        self.missing = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.missing = self.missing or bool(result.get("reported"))
        return self.missing

    def stop_all(self) -> bool:
        return self.missing


def _failure_reason(trial: Any) -> str:
    """Return the error line of the trial's driver, or the first line of any other error."""
    # Tune copies the error file to the study's storage later; now it is in the trial's local folder.
    log = Path(trial.error_file or "").read_text(encoding="utf-8") if trial.error_file else ""
    failure = last_failure(log)
    _, separator, message = failure.rpartition("TrialFailed: ")
    lines = (message if separator else failure).splitlines()
    return lines[0][:300] if lines else "ended without an error message"
