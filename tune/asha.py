"""ASHA that compares every trial and stops none that is hand-set or at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from tune import record
from tune.search import METRIC, TIME, same, settings_of
from tune.study import Point, Study
from tune.trial import better


class SparingASHA(AsyncHyperBandScheduler):
    """Asynchronous successive halving (Li et al. 2020) over epochs of training.

    The hand-set trial runs to its end, whatever the others do: it is what they are compared with. A trial at its last
    epoch is left to write its model and its results. In a study that goes on, trials of before are compared with too:
    Tune saves no scheduler, so it is told again what ``folder`` knows of them.
    """

    def __init__(self, study: Study, hand: Point, epochs: int, folder: Path):
        # Tune ends a trial that reaches max_t, before it has written what it found: hence one more.
        super().__init__(
            time_attr=TIME,
            max_t=epochs + 1,
            grace_period=study.scheduler.grace,
            reduction_factor=study.scheduler.reduction,
        )
        self.study, self.hand, self.epochs, self.folder = study, hand, epochs, folder

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        super().on_trial_add(tune_controller, trial)
        values = next((t.values for t in record.read(self.folder) if t.id == trial.trial_id), {})
        best = None
        for epochs, value in sorted(values.items()):
            best = better(value, best, self.study.mode)
            super().on_trial_result(tune_controller, trial, {TIME: epochs, METRIC: best})

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        decision = super().on_trial_result(tune_controller, trial, result)
        spared = result.get(TIME, 0) >= self.epochs or same(settings_of(trial.config, self.study), self.hand)
        return TrialScheduler.CONTINUE if spared else decision
